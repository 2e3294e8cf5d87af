package flows

import (
	"fmt"
	"strings"
)

// ParseGroup reads one group as `ovs-ofctl dump-groups` prints it or String writes it.
// Buckets without a number get their places in the list, from 0 on.
func ParseGroup(line string) (Group, error) {
	g, err := parseGroup(strings.TrimSpace(line))
	if err != nil {
		return Group{}, fmt.Errorf("group %q: %w", line, err)
	}
	return g, nil
}

func parseGroup(line string) (g Group, err error) {
	head, buckets, has := strings.Cut(line, "bucket=")
	for _, word := range splitWords(head) {
		i := strings.IndexAny(word, "=(")
		if i < 0 {
			return g, unknown(word)
		}
		if err := g.parseWord(word[:i], word[i:]); err != nil {
			return g, err
		}
	}
	if !has {
		return g, nil
	}
	for i, text := range strings.Split(buckets, "bucket=") {
		b, err := parseBucket(strings.TrimSuffix(strings.TrimSpace(text), ","), g.Type)
		if err != nil {
			return g, err
		}
		if b.ID == noBucket {
			b.ID = uint32(i)
		}
		g.Buckets = append(g.Buckets, b)
	}
	return g, nil
}

func (g *Group) parseWord(name, value string) (err error) {
	arg := strings.TrimPrefix(value, "=")
	switch name {
	case "group_id":
		err = parseUint(arg, 32, &g.ID)
	case "type":
		for t, word := range groupTypeWords {
			if arg == word || arg == "fast_failover" && word == "ff" {
				g.Type = GroupType(t)
				return nil
			}
		}
		err = fmt.Errorf("unknown group type %q", arg)
	case "selection_method":
		if g.Method = arg; !SpeakableMethod(arg) {
			err = fmt.Errorf("no selection method: %q", arg)
		}
	case "selection_method_param":
		err = parseUint(arg, 64, &g.Param)
	case "fields":
		if value[0] == '=' {
			value = "(" + arg + ")"
		}
		err = eachArgument(value, g.parseField)
	default:
		err = unknown(name)
	}
	return err
}

// SpeakableMethod tells whether a selection method's name can stand in a line of text.
func SpeakableMethod(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
}

func (g *Group) parseField(name, mask string) error {
	f, ok := fieldBySet[name]
	if !ok {
		return fmt.Errorf("unknown field %q", name)
	}
	bits := f.Ones()
	if mask != "" {
		var err error
		if bits, err = f.parseMask(mask); err != nil {
			return err
		}
	}
	*g = g.Hash(f, bits)
	return nil
}

// noBucket is OFPG_BUCKET_ALL: the number of none.
const noBucket uint32 = 0xffffffff

func parseBucket(s string, t GroupType) (Bucket, error) {
	b := Bucket{ID: noBucket}
	if t == GroupSelect {
		b.Weight = 1
	}
	var list []string
	for _, word := range splitActions(strings.Replace(s, "actions=", "", 1)) {
		known, err := b.parseWord(word)
		if err != nil {
			return b, err
		}
		if !known {
			list = append(list, word)
		}
	}
	var err error
	b.Actions, err = parseActions(strings.Join(list, ","))
	return b, err
}

func (b *Bucket) parseWord(word string) (known bool, err error) {
	name, value := word, ""
	if i := strings.IndexAny(word, ":="); i >= 0 {
		name, value = word[:i], word[i+1:]
	}
	switch name {
	case "bucket_id":
		if err = parseUint(value, 32, &b.ID); err == nil && b.ID > MaxBucket {
			err = fmt.Errorf("bucket_id:%d: the highest is %d", b.ID, MaxBucket)
		}
	case "weight":
		err = parseUint(value, 16, &b.Weight)
	case "watch_port":
		b.WatchPort, err = parsePort(value)
	case "watch_group":
		err = parseUint(value, 32, &b.WatchGroup)
	default:
		return false, nil
	}
	return true, err
}
