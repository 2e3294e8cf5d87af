// Package figures is the form in which all benchmarks here leave what they measured,
// out/bench*.json: always of Sluice, beside a peer, in the same run.
package figures

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// Figure is what was measured of Sluice, beside one peer. The JSON form is what other
// tools read.
type Figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	// Peer is what PeerValue was measured of, in the same run.
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peerValue"`
	// Ratio is Value to PeerValue: below 1 Sluice takes less, or, of a rate, moves less.
	Ratio float64 `json:"ratio"`
}

// New compares two values, which it rounds to thousandths.
func New(name, unit string, value float64, peer string, peerValue float64) Figure {
	value, peerValue = round(value), round(peerValue)
	return Figure{Name: name, Unit: unit, Value: value, Peer: peer, PeerValue: peerValue, Ratio: round(value / peerValue)}
}

// Percentile is the smallest sample that at least p percent of all do not exceed.
func Percentile[T cmp.Ordered](samples []T, p int) T {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func round(f float64) float64 { return math.Round(f*1000) / 1000 }

// Write writes figures to a file, whose directory it makes if need be.
func Write(path string, list []Figure) error { return WriteJSON(path, list) }

// WriteJSON writes what has a form of its own.
func WriteJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
