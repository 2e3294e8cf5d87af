package conf

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/sluice-cni/sluice/cni/ipam"
)

// Ask is what somebody asks for, beside an interface.
type Ask struct {
	// Addresses, at most one of each family; nil: not asked for. AddressesBy is where
	// it stands, for messages.
	Addresses   []netip.Addr
	AddressesBy string
	// MAC is a unicast address; nil: not asked for.
	MAC   net.HardwareAddr
	MACBy string
}

// First takes addresses and MAC each from the first that asks for them.
func First(asks ...Ask) (out Ask) {
	for _, a := range asks {
		if out.Addresses == nil {
			out.Addresses, out.AddressesBy = a.Addresses, a.AddressesBy
		}
		if out.MAC == nil {
			out.MAC, out.MACBy = a.MAC, a.MACBy
		}
	}
	return out
}

// ParseAsk reads addresses (separated by commas, each alone or with a prefix length,
// which means nothing here) and a MAC; an empty text asks for nothing. by and macBy are
// where they stand. The error names them; the caller gives it its code.
func ParseAsk(addresses, by, mac, macBy string) (a Ask, err error) {
	if addresses != "" {
		if a.Addresses, err = askedAddresses(strings.Split(addresses, ",")); err != nil {
			return Ask{}, fmt.Errorf("%s: %w", by, err)
		}
		a.AddressesBy = by
	}
	if mac != "" {
		if a.MAC, err = askedMAC(mac); err != nil {
			return Ask{}, fmt.Errorf("%s: %w", macBy, err)
		}
		a.MACBy = macBy
	}
	return a, nil
}

func askedAddresses(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		s = strings.TrimSpace(s)
		addr, err := netip.ParseAddr(s)
		if err != nil {
			var p netip.Prefix
			if p, err = netip.ParsePrefix(s); err == nil {
				addr = p.Addr()
			}
		}
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("expected an address such as 10.244.3.7, found %.100q", s)
		}
		addr = addr.Unmap()
		for _, other := range out {
			if other.Is4() == addr.Is4() {
				return nil, fmt.Errorf("expected at most one address of each family, found %s and %s", other, addr)
			}
		}
		out = append(out, addr)
	}
	return out, nil
}

func askedMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	const multicast = 1
	if err != nil || len(mac) != 6 || mac[0]&multicast != 0 || mac.String() == "00:00:00:00:00:00" {
		return nil, fmt.Errorf("expected a unicast MAC of six bytes such as 02:00:00:00:00:01, found %.100q", s)
	}
	return mac, nil
}

// supported are the capabilities that a conf may declare: the runtime then passes their
// values in runtimeConfig (CNI conventions, "Dynamic plugin specific fields").
var supported = map[string]func(field, *Conf) error{
	"ips":          func(f field, c *Conf) error { return f.askIPs(&c.fromRuntime) },
	"mac":          func(f field, c *Conf) error { return f.askMAC(&c.fromRuntime) },
	"ipRanges":     field.ipRanges,
	"bandwidth":    field.runtimeBandwidth,
	"portMappings": field.portMappings,
}

// capabilities refuses those that Sluice has not: a runtime would pass values for them,
// and the pod would not get what it was promised.
func (f field) capabilities(*Conf) error {
	return f.each("an object of booleans", func(capability field, name string) error {
		var on bool
		if json.Unmarshal(capability.value, &on) != nil {
			return capability.bad("true or false")
		}
		if on && supported[name] == nil {
			return capability.notYet("leave it out, or declare it of the plugin that has it")
		}
		return nil
	})
}

func (f field) runtimeConfig(c *Conf) error {
	return f.each("an object", func(value field, name string) error {
		switch read := supported[name]; {
		case value.null():
			return nil
		case read == nil:
			return value.notYet("leave the capability out of the network configuration")
		default:
			return read(value, c)
		}
	})
}

// args reads the conventional requests; anything else in args a plugin should ignore if
// it does not know it (CNI conventions, "args in network config").
func (f field) args(c *Conf) error {
	return f.each("an object", func(arg field, name string) error {
		if name != "cni" {
			return nil
		}
		return arg.each("an object", func(request field, name string) error {
			switch {
			case request.null():
			case name == "ips":
				return request.askIPs(&c.fromArgs)
			case name == "mac":
				return request.askMAC(&c.fromArgs)
			}
			return nil
		})
	})
}

// each calls do with each member of an object, named in whole and by itself. Null has none.
func (f field) each(expected string, do func(member field, name string) error) error {
	if f.null() {
		return nil
	}
	list, err := members(f.value)
	if err != nil {
		return f.bad(expected)
	}
	for _, m := range list {
		if err := do(field{name: f.name + "." + m.name, value: m.value}, m.name); err != nil {
			return err
		}
	}
	return nil
}

func (f field) askIPs(into *Ask) error {
	var list []string
	if json.Unmarshal(f.value, &list) != nil {
		return f.bad(`a list of addresses, such as ["10.244.3.7/24"]`)
	}
	addresses, err := askedAddresses(list)
	if err != nil {
		return f.wrong(err)
	}
	into.Addresses, into.AddressesBy = addresses, f.name
	return nil
}

func (f field) askMAC(into *Ask) error {
	var s string
	if json.Unmarshal(f.value, &s) != nil {
		return f.bad(`a MAC, such as "02:00:00:00:00:01"`)
	}
	if s == "" {
		return nil
	}
	mac, err := askedMAC(s)
	if err != nil {
		return f.wrong(err)
	}
	into.MAC, into.MACBy = mac, f.name
	return nil
}

// ipRanges are the conf's ranges in the runtime's words: a list of lists, of which a pod
// gets one address each; here it gets one of each family.
func (f field) ipRanges(c *Conf) error {
	var sets [][]json.RawMessage
	if json.Unmarshal(f.value, &sets) != nil {
		return f.bad(`a list of lists of {"subnet", "rangeStart", "rangeEnd", "gateway"}`)
	}
	var list []field
	for i, set := range sets {
		for j, r := range set {
			list = append(list, field{name: fmt.Sprintf("%s[%d][%d]", f.name, i, j), value: r})
		}
	}
	if len(list) == 0 {
		return nil
	}
	ranges, err := readRanges(f.name, list)
	c.runtimeRanges = ranges
	return err
}

// merge makes what the runtime asks for the conf's own.
func (c *Conf) merge() {
	c.Ask = First(c.fromRuntime, c.fromArgs)
	if c.RatesFromRuntime = c.runtimeRates != (Rates{}); !c.NoBandwidth {
		c.Rates = FirstRates(c.ownRates, c.runtimeRates)
	}
	if c.runtimeRanges != nil {
		c.Ranges = c.runtimeRanges
	}
}

// delegate reads "ipam": which plugin gives the addresses. Its other members are for
// that plugin, which gets the whole configuration.
func (f field) delegate(c *Conf) error {
	return f.each("an object", func(m field, name string) error {
		if name != "type" {
			return nil
		}
		// The executable looks it up in CNI_PATH: no way out of there.
		if json.Unmarshal(m.value, &c.IPAM) != nil || !namePattern.MatchString(c.IPAM) {
			return m.bad(`the name of an IPAM plugin, such as "host-local"`)
		}
		return nil
	})
}

// rangeObject is a range with what is to be kept from it. The names are host-local's.
type rangeObject struct {
	Subnet     json.RawMessage   `json:"subnet"`
	RangeStart json.RawMessage   `json:"rangeStart"`
	RangeEnd   json.RawMessage   `json:"rangeEnd"`
	Gateway    json.RawMessage   `json:"gateway"`
	Exclude    []json.RawMessage `json:"exclude"`
}

// oneRange reads a prefix, or an object of one and what is to be kept from it.
func (f field) oneRange() (ipam.Range, error) {
	const expected = `a prefix such as "10.244.3.0/24", or an object of "subnet", "rangeStart", "rangeEnd", "gateway" and "exclude"`
	if text := strings.TrimSpace(string(f.value)); !strings.HasPrefix(text, "{") {
		p, err := f.prefix()
		return ipam.Range{Prefix: p}, err
	}
	var o rangeObject
	if err := f.strict(&o); err != nil {
		return ipam.Range{}, f.bad(expected)
	}
	p, err := field{name: f.name + ".subnet", value: o.Subnet}.prefix()
	if err != nil {
		return ipam.Range{}, err
	}
	r := ipam.Range{Prefix: p}
	for _, m := range []struct {
		name  string
		value json.RawMessage
		into  *netip.Addr
	}{{"rangeStart", o.RangeStart, &r.First}, {"rangeEnd", o.RangeEnd, &r.Last}, {"gateway", o.Gateway, &r.Gateway}} {
		member := field{name: f.name + "." + m.name, value: m.value}
		if member.null() {
			continue
		}
		var s string
		if json.Unmarshal(m.value, &s) == nil && s == "" {
			continue // as libcni's types write what is not given
		}
		if *m.into, err = netip.ParseAddr(s); err != nil || !p.Contains(*m.into) {
			return ipam.Range{}, member.bad("an address in " + p.String())
		}
	}
	for i, e := range o.Exclude {
		member := field{name: fmt.Sprintf("%s.exclude[%d]", f.name, i), value: e}
		var s string
		_ = json.Unmarshal(e, &s)
		x, err := netip.ParsePrefix(s)
		if a, isAddr := netip.ParseAddr(s); isAddr == nil {
			x, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || !x.Overlaps(p) {
			return ipam.Range{}, member.bad("an address or a prefix in " + p.String())
		}
		r.Exclude = append(r.Exclude, x.Masked())
	}
	if r.Capacity() == 0 {
		return ipam.Range{}, f.bad("a range that leaves at least one address to give")
	}
	return r, nil
}
