package lease

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// freedPrefix begins the bridge's external_ids that keep when an address was freed.
const freedPrefix = "sluice-freed-"

// maxFreed is how many freed addresses are remembered. Beyond, the oldest are forgotten:
// they have rested, and count as never used.
const maxFreed = 4096

// FreedKey is the bridge's external_ids key for a freed address.
func FreedKey(a netip.Addr) string { return freedPrefix + a.String() }

// FreedValue is its value.
func FreedValue(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// Freed reads all freed addresses from a bridge's external_ids. What cannot be read
// is left out: it costs an address its rest, and no more.
func Freed(ids map[string]string) map[netip.Addr]time.Time {
	out := map[netip.Addr]time.Time{}
	for k, v := range ids {
		name, ok := strings.CutPrefix(k, freedPrefix)
		if !ok {
			continue
		}
		a, err := netip.ParseAddr(name)
		sec, err2 := strconv.ParseInt(v, 10, 64)
		if err == nil && err2 == nil {
			out[a] = time.Unix(sec, 0)
		}
	}
	return out
}

// Forget are the keys of the addresses that were freed longest ago, of those beyond what
// is remembered and before then: they have rested.
func Forget(freed map[netip.Addr]time.Time, rested time.Time) []string {
	if len(freed) <= maxFreed {
		return nil
	}
	var old []netip.Addr
	for a, t := range freed {
		if t.Before(rested) {
			old = append(old, a)
		}
	}
	slices.SortFunc(old, func(a, b netip.Addr) int { return cmp.Or(freed[a].Compare(freed[b]), a.Compare(b)) })
	var keys []string
	for _, a := range old[:min(len(old), len(freed)-maxFreed)] {
		keys = append(keys, FreedKey(a))
	}
	return keys
}
