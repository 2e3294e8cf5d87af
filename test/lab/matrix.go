package lab

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// cell is what was tried between two ends, by protocol.
type cell struct{ tried, reached map[string]int }

// WriteMatrix writes results for people: a row for each end that was spoken from,
// a column for each that was spoken to, and below what was not reached and why.
func WriteMatrix(out io.Writer, results []ProbeResult) error {
	var rows, columns []string
	cells := map[[2]string]cell{}
	for _, result := range results {
		rows, columns = addOnce(rows, result.From), addOnce(columns, result.To)
		key := [2]string{result.From, result.To}
		if _, ok := cells[key]; !ok {
			cells[key] = cell{map[string]int{}, map[string]int{}}
		}
		cells[key].tried[result.Protocol]++
		if result.Reached {
			cells[key].reached[result.Protocol]++
		}
	}
	// What is in both stands in the same order in both.
	slices.SortStableFunc(columns, func(a, b string) int { return cmp.Compare(place(rows, a), place(rows, b)) })
	text := &strings.Builder{}
	writeGrid(text, rows, columns, cells)
	writeFailures(text, results)
	_, err := io.WriteString(out, text.String())
	return err
}

func addOnce(list []string, item string) []string {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// place is where an item is in a list, its end if it is not in it.
func place(list []string, item string) int {
	if i := slices.Index(list, item); i >= 0 {
		return i
	}
	return len(list)
}

// letters stand for the protocols in a cell, in this order.
var letters = []struct{ protocol, letter string }{{"icmp", "i"}, {"tcp", "t"}, {"udp", "u"}}

func (c cell) String() string {
	text := ""
	for _, l := range letters {
		tried, reached := c.tried[l.protocol], c.reached[l.protocol]
		switch {
		case tried == 0:
		case reached == tried:
			text += l.letter
		case reached == 0:
			text += "-"
		default:
			text += "?" // some ports
		}
	}
	return text
}

// wideColumns is how many columns have their names above them; more have numbers.
const wideColumns = 8

func writeGrid(out *strings.Builder, rows, columns []string, cells map[[2]string]cell) {
	if len(rows) == 0 {
		out.WriteString("nothing to probe\n")
		return
	}
	heads := slices.Clone(columns)
	if len(columns) > wideColumns {
		for i, name := range columns {
			heads[i] = strconv.Itoa(i + 1)
			fmt.Fprintf(out, "%3d %s\n", i+1, name)
		}
		out.WriteByte('\n')
	}
	const corner = "from \\ to"
	first := len(corner)
	for _, name := range rows {
		first = max(first, len(name))
	}
	fmt.Fprintf(out, "%-*s", first, corner)
	for _, head := range heads {
		fmt.Fprintf(out, "  %-*s", columnWidth(head), head)
	}
	endLine(out)
	for _, row := range rows {
		fmt.Fprintf(out, "%-*s", first, row)
		for i, column := range columns {
			text := "."
			if row != column || cells[[2]string{row, column}].tried != nil {
				text = cells[[2]string{row, column}].String()
			}
			fmt.Fprintf(out, "  %-*s", columnWidth(heads[i]), text)
		}
		endLine(out)
	}
	out.WriteString("\ni icmp, t tcp, u udp reached; - not reached; ? some of the ports reached; . itself\n")
}

func columnWidth(head string) int { return max(len(head), len(letters)) }

// endLine ends a line, without blanks at its end.
func endLine(out *strings.Builder) {
	text := strings.TrimRight(out.String(), " ")
	out.Reset()
	out.WriteString(text + "\n")
}

func writeFailures(out *strings.Builder, results []ProbeResult) {
	reached := 0
	for _, result := range results {
		if result.Reached {
			reached++
			continue
		}
		fmt.Fprintf(out, "%s -> %s: %s\n", result.From, result.target(), result.Error)
	}
	if len(results) > 0 {
		fmt.Fprintf(out, "%d of %d reached\n", reached, len(results))
	}
}

func (r ProbeResult) target() string {
	text := fmt.Sprintf("%s:%d/%s", r.To, r.Port, r.Protocol)
	if r.Port == 0 {
		text = r.To + " " + r.Protocol
	}
	if strings.Contains(r.Address, ":") {
		text += " by IPv6"
	}
	return text
}
