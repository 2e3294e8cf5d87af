package flows

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// CT sends the packet through conntrack.
type CT struct {
	Commit, Force bool
	// Recirculate looks the packet up in Table afterwards, with conntrack's verdict; the
	// actions behind this one go on without it.
	Recirculate bool
	Table       TableID
	// Zone is the zone, unless ZoneFrom has Bits: then they hold it.
	Zone     uint16
	ZoneFrom Subfield
	// ALG is the helper that watches the connection: 0 or ALGFTP, ALGTFTP.
	ALG uint16
	// Exec are actions on the connection: NAT first if there is one, then what sets
	// CTMark and CTLabel.
	Exec []Action
}

// Helpers of conntrack, by their ports.
const (
	ALGFTP  uint16 = 21
	ALGTFTP uint16 = 69
)

// NAT translates, within CT. The zero NAT does to a packet of a known connection what
// the connection's first packet got.
type NAT struct {
	Kind NATKind
	// Min and Max are the range of addresses, of one family; there need be none, or no
	// Max.
	Min, Max netip.Addr
	// PortMin and PortMax are the range of ports, likewise.
	PortMin, PortMax         uint16
	Persistent, Hash, Random bool
}

// NATKind is which end is translated.
type NATKind uint8

// The kinds.
const (
	NATKnown NATKind = iota
	NATSource
	NATDestination
)

func (CT) action()  {}
func (NAT) action() {}

func (a CT) equal(o Action) bool {
	b, ok := o.(CT)
	return ok && a.Commit == b.Commit && a.Force == b.Force && a.Recirculate == b.Recirculate && a.Table == b.Table &&
		a.Zone == b.Zone && a.ZoneFrom == b.ZoneFrom && a.ALG == b.ALG && EqualActions(a.Exec, b.Exec)
}

func (a CT) String() string {
	var out []string
	if a.Commit {
		out = append(out, "commit")
	}
	if a.Force {
		out = append(out, "force")
	}
	if a.Recirculate {
		out = append(out, "table="+strconv.Itoa(int(a.Table)))
	}
	if a.ZoneFrom.Bits > 0 {
		out = append(out, "zone="+a.ZoneFrom.String())
	} else if a.Zone != 0 {
		out = append(out, "zone="+strconv.Itoa(int(a.Zone)))
	}
	exec := a.Exec
	if len(exec) > 0 {
		if nat, ok := exec[0].(NAT); ok {
			out, exec = append(out, nat.String()), exec[1:]
		}
	}
	if len(exec) > 0 {
		out = append(out, "exec("+listText(exec)+")")
	}
	switch a.ALG {
	case 0:
	case ALGFTP:
		out = append(out, "alg=ftp")
	case ALGTFTP:
		out = append(out, "alg=tftp")
	default:
		out = append(out, "alg="+strconv.Itoa(int(a.ALG)))
	}
	return "ct(" + strings.Join(out, ",") + ")"
}

func (a NAT) String() string {
	if a.Kind == NATKnown {
		return "nat"
	}
	text := "src"
	if a.Kind == NATDestination {
		text = "dst"
	}
	if a.Min.IsValid() {
		text += "=" + a.rangeText()
	}
	for _, flag := range []struct {
		word string
		set  bool
	}{{"persistent", a.Persistent}, {"hash", a.Hash}, {"random", a.Random}} {
		if flag.set {
			text += "," + flag.word
		}
	}
	return "nat(" + text + ")"
}

func (a NAT) rangeText() string {
	text := a.addrText(a.Min)
	if a.Max.IsValid() {
		text += "-" + a.addrText(a.Max)
	}
	if a.PortMin != 0 {
		text += ":" + strconv.Itoa(int(a.PortMin))
	}
	if a.PortMax != 0 {
		text += "-" + strconv.Itoa(int(a.PortMax))
	}
	return text
}

func (a NAT) addrText(addr netip.Addr) string {
	if addr.Is4() {
		return addr.String()
	}
	if a.PortMin != 0 {
		return "[" + ipv6Text(addr) + "]"
	}
	return ipv6Text(addr)
}

func parseCT(s string) (Action, error) {
	var a CT
	err := eachArgument(s, func(name, value string) (err error) {
		var exec []Action
		switch name {
		case "commit":
			a.Commit = true
		case "force":
			a.Force = true
		case "table":
			a.Recirculate = true
			err = parseUint(value, 8, &a.Table)
		case "zone":
			if strings.Contains(value, "[") {
				a.ZoneFrom, err = parseSubfield(value)
			} else {
				err = parseUint(value, 16, &a.Zone)
			}
		case "alg":
			a.ALG, err = parseALG(value)
		case "nat":
			var nat NAT
			nat, err = parseNAT(value)
			a.Exec = append(a.Exec, nat)
		case "exec":
			exec, err = parseNested(value)
			a.Exec = append(a.Exec, exec...)
		default:
			err = unknown(name)
		}
		return err
	})
	return a, err
}

func parseALG(s string) (uint16, error) {
	switch s {
	case "ftp":
		return ALGFTP, nil
	case "tftp":
		return ALGTFTP, nil
	}
	var port uint16
	err := parseUint(s, 16, &port)
	return port, err
}

func parseNATAction(s string) (Action, error) { return parseNAT(s) }

// parseNAT reads what stands behind "nat": nothing, or its arguments in parentheses.
func parseNAT(s string) (NAT, error) {
	var a NAT
	if s == "" {
		return a, nil
	}
	err := eachArgument(s, func(name, value string) error {
		switch name {
		case "src":
			a.Kind = NATSource
			return a.parseRange(value)
		case "dst":
			a.Kind = NATDestination
			return a.parseRange(value)
		case "persistent":
			a.Persistent = true
		case "hash":
			a.Hash = true
		case "random":
			a.Random = true
		default:
			return unknown(name)
		}
		return nil
	})
	if err == nil && !a.Min.IsValid() && a != (NAT{Kind: a.Kind}) {
		a = NAT{Kind: a.Kind} // ovs-ofctl, too, forgets them
	}
	return a, err
}

// parseRange reads ADDR, ADDR-ADDR, and each with :PORT or :PORT-PORT.
func (a *NAT) parseRange(s string) (err error) {
	if s == "" {
		return nil
	}
	addrs, ports := s, ""
	if i := strings.LastIndex(s, "]:"); i >= 0 {
		addrs, ports = s[:i+1], s[i+2:]
	} else if i := strings.Index(s, ":"); i >= 0 && i == strings.LastIndex(s, ":") {
		addrs, ports = s[:i], s[i+1:]
	}
	first, last, isRange := strings.Cut(addrs, "-")
	if a.Min, err = parseNATAddr(first); err != nil {
		return err
	}
	if isRange {
		if a.Max, err = parseNATAddr(last); err != nil {
			return err
		}
		if a.Max.Is4() != a.Min.Is4() {
			return fmt.Errorf("nat: %q has two families", s)
		}
	}
	if ports == "" {
		return nil
	}
	low, high, isRange := strings.Cut(ports, "-")
	err = parseUint(low, 16, &a.PortMin)
	if err == nil && isRange {
		err = parseUint(high, 16, &a.PortMax)
	}
	return err
}

func parseNATAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err == nil && a.Zone() != "" {
		err = fmt.Errorf("nat: %q has a zone", s)
	}
	return a, err
}
