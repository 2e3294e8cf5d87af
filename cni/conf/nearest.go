package conf

import (
	"maps"
	"slices"
	"strings"
)

// nearest is the known field that a misspelt one most likely means: at most two
// letters apart, and fewer than half of them; "" if there is none.
func nearest(name string) string {
	known := slices.Sorted(maps.Keys(readers))
	best, distance := "", 3
	for _, n := range known {
		d := editDistance(strings.ToLower(name), strings.ToLower(n))
		if d < distance && 2*d < len(n) {
			best, distance = n, d
		}
	}
	return best
}

// editDistance is Levenshtein's, by bytes; 3 at once where it must be more.
func editDistance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
