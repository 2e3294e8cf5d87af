package compare

import (
	"fmt"
	"strings"
)

// Words are one line on the owner: "pod default/a: 3 flows added".
func (o Owner) Words() string {
	counts := strings.Join(counted([]int{len(o.Added), len(o.Removed), len(o.Changed)}, "flow"), ", ")
	return o.String() + ": " + strings.Join(append(o.Facts[:len(o.Facts):len(o.Facts)], counts), "; ")
}

// counted are the numbers of what was added, removed and changed, those that are not 0.
func counted(n []int, noun string) []string {
	var out []string
	for i, verb := range []string{"added", "removed", "changed"} {
		switch {
		case i >= len(n) || n[i] == 0:
		case n[i] == 1:
			out = append(out, "1 "+noun+" "+verb)
		default:
			out = append(out, fmt.Sprintf("%d %ss %s", n[i], noun, verb))
		}
	}
	return out
}

// Words are one line on what the lines are of: "host: 2 lines added".
func (l Lines) Words(what, noun string) string {
	return what + ": " + strings.Join(counted([]int{len(l.Added), len(l.Removed)}, noun), ", ")
}

// String is the difference for people: words as comments, and under them what goes (-)
// and comes (+), as `ovs-ofctl diff-flows` writes it. It is empty if the sides are alike.
func (d Difference) String() string {
	var b strings.Builder
	line := func(sign string, text fmt.Stringer) { b.WriteString(sign + text.String() + "\n") }
	for _, c := range d.Conflicts.Added {
		b.WriteString("# conflict: " + c + "\n")
	}
	for _, c := range d.Conflicts.Removed {
		b.WriteString("# no conflict any more: " + c + "\n")
	}
	for _, o := range d.Owners {
		b.WriteString("# " + o.Words() + "\n")
		for _, f := range o.Removed {
			line("-", f)
		}
		for _, c := range o.Changed {
			line("-", c.From)
			line("+", c.To)
		}
		for _, f := range o.Added {
			line("+", f)
		}
	}
	d.Groups.write(&b, "groups", "group")
	d.Host.write(&b, "host", "line")
	return b.String()
}

func (l Lines) write(b *strings.Builder, what, noun string) {
	if l.empty() {
		return
	}
	b.WriteString("# " + l.Words(what, noun) + "\n")
	for _, t := range l.Removed {
		b.WriteString("-" + t + "\n")
	}
	for _, t := range l.Added {
		b.WriteString("+" + t + "\n")
	}
}
