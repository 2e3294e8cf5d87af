package conf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/sluice-cni/sluice/cni/wire"
)

// Parse reads the network configuration of ADD, CHECK, STATUS. Its error is always
// a *types.Error, of code
//
//   - 1 (types.ErrIncompatibleCNIVersion): a cniVersion that is missing or that
//     Sluice does not speak;
//   - 2 (types.ErrUnsupportedField): a field that is unknown or not built yet; the
//     message has its name and value, as the specification demands;
//   - 6 (types.ErrDecodingFailure): not a JSON object, with line and column;
//   - 7 (types.ErrInvalidNetworkConfig): a field with a bad value.
func Parse(stdin []byte) (*Conf, error) {
	c, fields, err := parseIdentity(stdin)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if err := f.into(c); err != nil {
			return nil, err
		}
	}
	c.merge()
	if err := c.fits(); err != nil {
		return nil, err
	}
	return c, nil
}

// ParseLoosely reads the network configuration of DEL and GC, which must not fail
// because somebody has edited the file since the ADD: it demands cniVersion and
// name, and of the rest takes what it can use and ignores what it cannot. Of the
// attachments for GC, where a misreading would delete, it ignores nothing. Errors as
// for [Parse], without code 2.
func ParseLoosely(stdin []byte) (*Conf, error) {
	c, fields, err := parseIdentity(stdin)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		err := f.into(c)
		if err != nil && strings.HasPrefix(f.name, reservedPrefix) {
			return nil, err
		}
	}
	c.merge()
	return c, nil
}

// Allows returns nil if the configuration's version of the specification has the
// verb, and otherwise a *types.Error of code 1: CHECK came with 0.4.0, STATUS and GC
// with 1.1.0.
func (c *Conf) Allows(command string) error {
	since := map[string]string{wire.Check: "0.4.0", wire.Status: "1.1.0", wire.GC: "1.1.0"}[command]
	if since == "" {
		return nil
	}
	if ok, err := version.GreaterThanOrEqualTo(c.CNIVersion, since); err != nil || !ok {
		return types.NewError(types.ErrIncompatibleCNIVersion,
			fmt.Sprintf("cniVersion: %s needs %s or later, found %q", command, since, c.CNIVersion), "")
	}
	return nil
}

// field is one member of the configuration, in its order.
type field struct {
	name  string
	value json.RawMessage
}

// parseIdentity reads what every verb needs, and splits the rest.
func parseIdentity(stdin []byte) (*Conf, []field, error) {
	fields, err := split(stdin)
	if err != nil {
		return nil, nil, err
	}
	c := &Conf{Socket: wire.DefaultSocket}
	if err := find(fields, "cniVersion").cniVersion(c); err != nil {
		return nil, nil, err
	}
	if err := find(fields, "name").networkName(c); err != nil {
		return nil, nil, err
	}
	if err := find(fields, "type").typeName(c); err != nil {
		return nil, nil, err
	}
	return c, fields, nil
}

// split reads the members of the top-level object.
func split(stdin []byte) ([]field, error) {
	if len(bytes.TrimSpace(stdin)) == 0 {
		return nil, types.NewError(types.ErrDecodingFailure, "network configuration: expected a JSON object on standard input, found nothing", "")
	}
	if err := wire.CheckJSON(stdin); err != nil {
		return nil, types.NewError(err.Code, err.Msg, err.Details)
	}
	fields, err := members(stdin)
	if err != nil {
		return nil, types.NewError(types.ErrDecodingFailure,
			fmt.Sprintf("network configuration: expected a JSON object, found %s", found(bytes.TrimSpace(stdin))), "")
	}
	seen := make(map[string]bool, len(fields))
	for _, f := range fields {
		if seen[f.name] {
			return nil, invalid(f.name, "expected once", "found twice")
		}
		seen[f.name] = true
	}
	return fields, nil
}

// members are the members of a JSON object in their order, those given twice twice.
func members(object []byte) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	open, err := d.Token()
	if err != nil {
		return nil, err
	}
	if open != json.Delim('{') {
		return nil, fmt.Errorf("no object")
	}
	var fields []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{name: name.(string)} // a JSON object's keys are strings
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// find returns the member of that name, with a nil value if there is none.
func find(fields []field, name string) field {
	for _, f := range fields {
		if f.name == name {
			return f
		}
	}
	return field{name: name}
}
