package hazard

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// nftTable is one of nft's tables.
type nftTable struct{ family, name string }

// nftTables are all tables of nft's, by `nft -j list ruleset` (libnftables-json(5)).
func nftTables(ctx context.Context) (map[nftTable]map[string]chain, error) {
	out, err := exec.CommandContext(ctx, "nft", "-j", "list", "ruleset").Output()
	if err != nil {
		return nil, fmt.Errorf("nft -j list ruleset: %w", err)
	}
	return parseNft(out)
}

func parseNft(text []byte) (map[nftTable]map[string]chain, error) {
	var list struct {
		Nftables []struct {
			Chain *struct{ Family, Table, Name, Hook, Policy string }
			Rule  *struct {
				Family, Table, Chain string
				Expr                 []map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("nft -j list ruleset: %w", err)
	}
	tables := map[nftTable]map[string]chain{}
	put := func(t nftTable, name string, change func(*chain)) {
		if tables[t] == nil {
			tables[t] = map[string]chain{}
		}
		c := tables[t][name]
		change(&c)
		tables[t][name] = c
	}
	for _, o := range list.Nftables {
		if o.Chain != nil {
			put(nftTable{o.Chain.Family, o.Chain.Table}, o.Chain.Name, func(c *chain) {
				c.hook, c.drops = o.Chain.Hook, o.Chain.Policy == "drop"
			})
		}
		if o.Rule != nil {
			put(nftTable{o.Rule.Family, o.Rule.Table}, o.Rule.Chain, func(c *chain) {
				c.rules = append(c.rules, nftRules(o.Rule.Expr)...)
			})
		}
	}
	return tables, nil
}

// nftRules reads one rule. A verdict map is as many rules as it has elements.
func nftRules(exprs []map[string]json.RawMessage) []rule {
	var conditions []condition
	for _, e := range exprs {
		for word, arg := range e {
			switch word {
			case "match":
				conditions = append(conditions, nftMatch(arg))
			case "vmap":
				return nftVmap(arg, conditions)
			case "counter", "log", "mangle", "notrack", "ct helper", "last":
			default:
				if r, ok := nftVerdict(word, arg); ok {
					r.conditions = conditions
					return []rule{r}
				}
				conditions = append(conditions, condition{}) // nobody knows: xt, fib, ...
			}
		}
	}
	return []rule{{conditions: conditions}}
}

func nftVerdict(word string, arg json.RawMessage) (rule, bool) {
	var to struct{ Target string }
	switch word {
	case "accept":
		return rule{act: accept}, true
	case "drop", "reject":
		return rule{act: drop}, true
	case "return":
		return rule{act: giveBack}, true
	case "continue":
		return rule{act: goOn}, true
	case "jump", "goto":
		if json.Unmarshal(arg, &to) != nil {
			return rule{act: other}, true
		}
		return rule{act: map[string]act{"jump": jump, "goto": leap}[word], target: to.Target}, true
	case "queue", "masquerade", "snat", "dnat", "redirect", "fwd", "tproxy", "synproxy":
		return rule{act: other}, true
	}
	return rule{}, false
}

func nftMatch(arg json.RawMessage) condition {
	var m struct {
		Op          string
		Left, Right json.RawMessage
	}
	if json.Unmarshal(arg, &m) != nil {
		return condition{}
	}
	c := condition{field: nftField(m.Left), values: nftValues(m.Right), not: m.Op == "!="}
	switch {
	case len(c.values) == 0, m.Op != "==" && m.Op != "!=" && m.Op != "in":
		return condition{}
	}
	return c
}

func nftField(left json.RawMessage) field {
	var l struct {
		Meta, CT *struct{ Key string }
		Payload  *struct{ Protocol, Field string }
	}
	if json.Unmarshal(left, &l) != nil {
		return unknown
	}
	switch {
	case l.Meta != nil:
		return map[string]field{
			"iifname": inDevice, "iif": inDevice, "oifname": outDevice, "oif": outDevice, "l4proto": protocol, "nfproto": family,
		}[l.Meta.Key]
	case l.CT != nil && l.CT.Key == "state":
		return connState
	case l.Payload != nil:
		return map[string]field{
			"ip saddr": source, "ip6 saddr": source, "ip daddr": dest, "ip6 daddr": dest, "ip protocol": protocol, "ip6 nexthdr": protocol,
			"tcp dport": destPort, "udp dport": destPort, "th dport": destPort,
		}[l.Payload.Protocol+" "+l.Payload.Field]
	}
	return unknown
}

// nftValues are the right side's values as text; none where it is something else.
func nftValues(right json.RawMessage) []string {
	var v any
	if json.Unmarshal(right, &v) != nil {
		return nil
	}
	return textsOf(v)
}

func textsOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case float64:
		return []string{fmt.Sprint(int64(v))}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, textsOf(e)...)
		}
		return out
	case map[string]any:
		if s, ok := v["set"]; ok {
			return textsOf(s)
		}
		if p, ok := v["prefix"].(map[string]any); ok {
			return []string{fmt.Sprintf("%v/%v", p["addr"], p["len"])}
		}
		if r, ok := v["range"]; ok {
			return []string{strings.Join(textsOf(r), "-")}
		}
	}
	return nil
}

func nftVmap(arg json.RawMessage, before []condition) []rule {
	unsure := []rule{{conditions: append(before, condition{}), act: other}}
	var m struct {
		Key  json.RawMessage
		Data struct{ Set [][]json.RawMessage }
	}
	if json.Unmarshal(arg, &m) != nil || len(m.Data.Set) == 0 {
		return unsure
	}
	var out []rule
	for _, pair := range m.Data.Set {
		var verdict map[string]json.RawMessage
		if len(pair) != 2 || json.Unmarshal(pair[1], &verdict) != nil {
			return unsure
		}
		for word, arg := range verdict {
			r, ok := nftVerdict(word, arg)
			c := condition{field: nftField(m.Key), values: nftValues(pair[0])}
			if !ok || len(c.values) == 0 {
				return unsure
			}
			r.conditions = append(append([]condition(nil), before...), c)
			out = append(out, r)
		}
	}
	return out
}
