package flows

import (
	"slices"
	"strings"
)

// Flags of fields that are sets of them, lowest bit first.
var (
	ctStateNames = []string{"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"}
	tcpFlagNames = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"}
	tunFlagNames = []string{"oam"}
)

// flagsText is the flags that are set, and in hexadecimal those that have no name.
func flagsText(value uint64, names []string) string {
	var out []string
	for i, name := range names {
		if value>>i&1 != 0 {
			out = append(out, name)
		}
	}
	if rest := value >> len(names) << len(names); rest != 0 {
		out = append(out, hexText(Uint(rest)))
	}
	if len(out) == 0 {
		return "0"
	}
	return strings.Join(out, "|")
}

func parseFlags(s string, names []string) (value uint64, ok bool) {
	if s == "0" {
		return 0, true
	}
	for word := range strings.SplitSeq(s, "|") {
		if i := slices.Index(names, word); i >= 0 {
			value |= 1 << i
		} else if n, ok := parseNumber(word); ok && n == Uint(n.Uint64()) {
			value |= n.Uint64()
		} else {
			return 0, false
		}
	}
	return value, true
}

// maskedFlagsText is +flag for each that must be set and -flag for each that must not.
// ok is false if one has no name.
func maskedFlagsText(value, mask uint64, names []string) (text string, ok bool) {
	if mask>>len(names) != 0 {
		return "", false
	}
	var b strings.Builder
	for i, name := range names {
		switch {
		case value&mask>>i&1 != 0:
			b.WriteString("+" + name)
		case mask>>i&1 != 0:
			b.WriteString("-" + name)
		}
	}
	return b.String(), true
}

func parseMaskedFlags(s string, names []string) (value, mask uint64, ok bool) {
	for s != "" {
		end := strings.IndexAny(s[1:], "+-") + 1
		if end == 0 {
			end = len(s)
		}
		i := slices.Index(names, s[1:end])
		if i < 0 {
			return 0, 0, false
		}
		switch s[0] {
		case '+':
			value |= 1 << i
		case '-':
		default:
			return 0, 0, false
		}
		mask |= 1 << i
		s = s[end:]
	}
	return value, mask, mask != 0
}

// fragments are ovs-ofctl's words for IPFrag: bit 0 is set on every fragment, bit 1
// on all but the first. The whole field is both.
var fragments = []struct {
	word        string
	value, mask uint64
}{
	{"no", 0, 0xff},
	{"yes", 1, 1},
	{"first", 1, 0xff},
	{"later", 3, 0xff},
	{"not_later", 0, 2},
}
