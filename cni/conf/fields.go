package conf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/cni/ipam"
	"github.com/sluice-cni/sluice/cni/wire"
)

// reservedPrefix begins the names that only runtimes use (CNI specification,
// section 1, "Reserved keys").
const reservedPrefix = "cni.dev/"

// readers are the fields that Sluice understands.
var readers = map[string]func(field, *Conf) error{
	"cniVersion": field.cniVersion,
	"name":       field.networkName,
	"type":       field.typeName,
	"socket":     field.socket,
	"mtu":        field.mtu,
	"ranges":     field.ranges,
	"dns":        field.dns,

	"bridge":      field.bridge,
	"vlan":        field.vlan,
	"trunk":       field.trunk,
	"device":      field.device,
	"macspoofchk": field.spoofGuard,
	"allowed":     field.allowed,
	"promiscMode": field.promiscuous,

	"bandwidth":     field.bandwidth,
	"ipam":          field.delegate,
	"capabilities":  field.capabilities,
	"runtimeConfig": field.runtimeConfig,
	"args":          field.args,

	"prevResult":                field.prevResult,
	"cni.dev/valid-attachments": field.attachments,
	"cni.dev/attachments":       field.attachments,

	// For the runtime; a plugin has nothing to do about them.
	"cniVersions":            field.ignore,
	"disableCheck":           field.ignore,
	"disableGC":              field.disableGC,
	"loadOnlyInlinedPlugins": field.ignore,
}

// into reads the field into c, or refuses it.
func (f field) into(c *Conf) error {
	switch read, known := readers[f.name]; {
	case known:
		return read(f, c)
	case strings.HasPrefix(f.name, reservedPrefix):
		return nil // a later specification's
	}
	msg := fmt.Sprintf("%.100q: unknown field (value %s)", f.name, found(f.value))
	if near := nearest(f.name); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	return types.NewError(types.ErrUnsupportedField, msg, "")
}

func (f field) notYet(cure string) error {
	return types.NewError(types.ErrUnsupportedField,
		fmt.Sprintf("%s: not supported yet (value %s); %s", f.name, found(f.value), cure), "")
}

func (f field) bad(expected string) error {
	return invalid(f.name, "expected "+expected, "found "+found(f.value))
}

// wrong is an error that says itself what was expected and found.
func (f field) wrong(err error) error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("%s: %v", f.name, err), "")
}

// strict reads an object whose members are all known.
func (f field) strict(into any) error {
	d := json.NewDecoder(bytes.NewReader(f.value))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func invalid(field, expected, found string) error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("%s: %s, %s", field, expected, found), "")
}

// null tells that a runtime wrote a field that it has no value for.
func (f field) null() bool { return f.value == nil || string(f.value) == "null" }

func (f field) ignore(*Conf) error { return nil }

func (f field) disableGC(c *Conf) error {
	if !f.null() && json.Unmarshal(f.value, &c.DisableGC) != nil {
		return f.bad("true or false")
	}
	return nil
}

func (f field) cniVersion(c *Conf) error {
	if json.Unmarshal(f.value, &c.CNIVersion) == nil && slices.Contains(wire.Versions(), c.CNIVersion) {
		return nil
	}
	return types.NewError(types.ErrIncompatibleCNIVersion,
		fmt.Sprintf("%s: expected one of %s, found %s", f.name, strings.Join(wire.Versions(), ", "), found(f.value)), "")
}

// namePattern is the specification's for "name" and CNI_CONTAINERID (sections 1, 2).
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

func (f field) networkName(c *Conf) error {
	if json.Unmarshal(f.value, &c.Name) != nil || !namePattern.MatchString(c.Name) {
		return f.bad("a letter or digit, then letters, digits, '_', '.' or '-'")
	}
	return nil
}

func (f field) typeName(*Conf) error {
	var s string
	if json.Unmarshal(f.value, &s) != nil || s != Type {
		return f.bad(strconv.Quote(Type))
	}
	return nil
}

func (f field) socket(c *Conf) error {
	const longest = 107 // sun_path less the terminating zero, unix(7)
	var s string
	if json.Unmarshal(f.value, &s) != nil || !filepath.IsAbs(s) || len(s) > longest || strings.ContainsRune(s, 0) {
		return f.bad(fmt.Sprintf("an absolute path of at most %d bytes", longest))
	}
	c.Socket = s
	return nil
}

func (f field) mtu(c *Conf) error {
	n, err := strconv.Atoi(string(f.value))
	if err != nil || n < 68 || n > 65535 {
		return f.bad("an integer between 68 and 65535")
	}
	c.MTU = n
	return nil
}

// maxRanges is more than anybody needs on one node.
const maxRanges = 64

func (f field) ranges(c *Conf) error {
	var items []json.RawMessage
	if json.Unmarshal(f.value, &items) != nil || len(items) == 0 {
		return f.bad(`a list of prefixes, such as ["10.244.3.0/24"]`)
	}
	list := make([]field, len(items))
	for i, item := range items {
		list[i] = field{name: fmt.Sprintf("%s[%d]", f.name, i), value: item}
	}
	var err error
	c.Ranges, err = readRanges(f.name, list)
	return err
}

// readRanges reads ranges that must not overlap.
func readRanges(name string, list []field) ([]ipam.Range, error) {
	if len(list) > maxRanges {
		return nil, invalid(name, fmt.Sprintf("expected at most %d prefixes", maxRanges), fmt.Sprintf("found %d", len(list)))
	}
	var out []ipam.Range
	for _, item := range list {
		r, err := item.oneRange()
		if err != nil {
			return nil, err
		}
		for j, q := range out {
			if q.Prefix.Overlaps(r.Prefix) {
				return nil, invalid(item.name, "expected ranges that do not overlap",
					fmt.Sprintf("found %s, which overlaps %s, %s", r.Prefix, list[j].name, q.Prefix))
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func (f field) prefix() (netip.Prefix, error) {
	var s string
	if json.Unmarshal(f.value, &s) != nil {
		return netip.Prefix{}, f.bad(`a prefix, such as "10.244.3.0/24"`)
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, f.bad(`a prefix, such as "10.244.3.0/24"`)
	case p != p.Masked():
		return netip.Prefix{}, f.bad(fmt.Sprintf("a prefix without host bits (%q)", p.Masked().String()))
	case p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsUnspecified():
		return netip.Prefix{}, f.bad("a prefix of unicast addresses that can be routed")
	case ipam.Capacity(p) == 0:
		return netip.Prefix{}, f.bad("a prefix with room for the network, the gateway and a pod (at most /30, in IPv6 /126)")
	}
	return p, nil
}

// fits checks fields against each other.
func (c *Conf) fits() error {
	for _, r := range c.Ranges {
		if r.Prefix.Addr().Is6() && c.MTU != 0 && c.MTU < 1280 {
			return invalid("mtu", fmt.Sprintf("expected at least 1280, as %s is IPv6 (RFC 8200, section 5)", r.Prefix), fmt.Sprintf("found %d", c.MTU))
		}
	}
	if c.IPAM != "" && c.Ranges != nil {
		return invalid("ranges", fmt.Sprintf("expected none, as %q gives the addresses (ipam.type)", c.IPAM), fmt.Sprintf("found %s", c.Ranges[0]))
	}
	return c.fitsLayer2()
}

func (f field) dns(c *Conf) error {
	if f.null() {
		return nil
	}
	if _, err := members(f.value); err != nil || json.Unmarshal(f.value, &c.DNS) != nil {
		return f.bad(`an object of "nameservers", "domain", "search" and "options"`)
	}
	return nil
}

func (f field) prevResult(c *Conf) error {
	if f.null() {
		return nil
	}
	if _, err := members(f.value); err != nil {
		return f.bad("the result object of an ADD")
	}
	c.PrevResult = f.value
	return nil
}

func (f field) attachments(c *Conf) error {
	if f.null() {
		return nil
	}
	var list []struct {
		ContainerID *string `json:"containerID"`
		IfName      *string `json:"ifname"`
	}
	const expected = `a list of {"containerID", "ifname"}`
	if json.Unmarshal(f.value, &list) != nil {
		return f.bad(expected)
	}
	listed := map[Attachment]bool{}
	for _, a := range c.ValidAttachments { // by the other spelling
		listed[a] = true
	}
	for _, a := range list {
		if a.ContainerID == nil || a.IfName == nil {
			return f.bad(expected)
		}
		if at := (Attachment{*a.ContainerID, *a.IfName}); !listed[at] {
			listed[at] = true
			c.ValidAttachments = append(c.ValidAttachments, at)
		}
	}
	c.AttachmentsListed = true
	return nil
}

// found is a value as it appears in a message: short, on one line.
func found(value json.RawMessage) string {
	if value == nil {
		return "nothing"
	}
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return "something that is not JSON"
	}
	const most = 80
	s := []rune(b.String())
	if len(s) > most {
		s = append(s[:most:most], '…')
	}
	return string(s)
}
