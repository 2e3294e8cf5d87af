package hazard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// iptablesKind is one of iptables' programs, without "-save".
type iptablesKind struct {
	program, family string
	legacy          bool
}

var iptablesKinds = []iptablesKind{
	{"iptables-nft", "ip", false}, {"ip6tables-nft", "ip6", false},
	{"iptables-legacy", "ip", true}, {"ip6tables-legacy", "ip6", true},
}

// inUse tells whether the kernel holds tables of this kind. Asking a program of the old
// kind for them would make them.
func (k iptablesKind) inUse() bool {
	if !k.legacy {
		return true
	}
	names, err := os.ReadFile(map[string]string{"ip": "/proc/thread-self/net/ip_tables_names", "ip6": "/proc/thread-self/net/ip6_tables_names"}[k.family])
	return err == nil && len(names) > 0
}

// errNoProgram: there are tables of a kind, and no program that lists them.
var errNoProgram = errors.New("is not installed")

// save are the kind's tables, by name.
func (k iptablesKind) save(ctx context.Context) (map[string]map[string]chain, error) {
	program := k.program + "-save"
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("%s %w", program, errNoProgram)
	}
	out, err := exec.CommandContext(ctx, program).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return parseIptables(string(out)), nil
}

// parseIptables reads iptables-save(8)'s lines.
func parseIptables(text string) map[string]map[string]chain {
	tables := map[string]map[string]chain{}
	var now map[string]chain
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			now = map[string]chain{}
			tables[line[1:]] = now
		case strings.HasPrefix(line, ":") && now != nil:
			words := strings.Fields(line[1:])
			if len(words) > 1 {
				now[words[0]] = chain{hook: hookOf(words[0], words[1]), drops: words[1] == "DROP"}
			}
		case strings.HasPrefix(line, "-A ") && now != nil:
			words := split(line)
			if len(words) > 1 {
				c := now[words[1]]
				c.rules = append(c.rules, iptablesRule(words[2:]))
				now[words[1]] = c
			}
		}
	}
	return tables
}

// hookOf is a built-in chain's hook; others have no policy.
func hookOf(name, policy string) string {
	if policy == "-" {
		return ""
	}
	return strings.ToLower(name)
}

// split cuts a line into words; what is in double quotes is one.
func split(line string) []string {
	var words []string
	var b strings.Builder
	quoted, any := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case c == '"':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any {
				words = append(words, b.String())
			}
			b.Reset()
			any = false
		default:
			b.WriteByte(c)
			any = true
		}
	}
	if any {
		words = append(words, b.String())
	}
	return words
}

// iptablesFields are the options that say something about a packet.
var iptablesFields = map[string]field{
	"-i": inDevice, "-o": outDevice, "-s": source, "-d": dest, "-p": protocol,
	"--dport": destPort, "--dports": destPort, "--ctstate": connState, "--state": connState,
}

// harmless are options of matches and targets that narrow nothing, and whether a value follows.
var harmless = map[string]bool{"-m": true, "--comment": true, "--reject-with": true, "--log-prefix": true, "--log-level": true}

func iptablesRule(words []string) rule {
	var r rule
	not := false
	for i := 0; i < len(words); i++ {
		word, value := words[i], ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		f, known := iptablesFields[word]
		switch {
		case word == "!":
			not = true
			continue
		case word == "-j" || word == "-g":
			r.act, r.target = iptablesTarget(word, value)
			i++
		case known:
			r.conditions = append(r.conditions, condition{field: f, values: iptablesValues(f, value), not: not})
			i++
		case harmless[word]:
			i++
		case strings.HasPrefix(word, "-") && r.act == goOn: // of a match that nobody knows
			r.conditions = append(r.conditions, condition{})
		}
		not = false
	}
	return r
}

func iptablesTarget(word, name string) (act, string) {
	switch name {
	case "ACCEPT":
		return accept, ""
	case "DROP", "REJECT":
		return drop, ""
	case "RETURN":
		return giveBack, ""
	case "LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CT", "CHECKSUM", "TRACE", "SET", "ULOG", "AUDIT", "CLASSIFY", "DSCP", "TOS":
		return goOn, ""
	case "QUEUE", "NFQUEUE", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "TPROXY", "SYNPROXY", "NOTRACK":
		return other, ""
	}
	if word == "-g" {
		return leap, name
	}
	return jump, name
}

func iptablesValues(f field, text string) []string {
	switch f {
	case inDevice, outDevice:
		if strings.HasSuffix(text, "+") {
			text = strings.TrimSuffix(text, "+") + "*"
		}
		return []string{text}
	case connState:
		return strings.Split(strings.ToLower(text), ",")
	case destPort:
		return strings.Split(strings.ReplaceAll(text, ":", "-"), ",")
	}
	return []string{text}
}
