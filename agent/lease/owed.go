package lease

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/cni/wire"
)

// owedPrefix begins the bridge's external_ids that keep which addresses are owed to
// another IPAM plugin: the lease was freed without the plugin's having been told.
const owedPrefix = "sluice-owed-"

// OwedKey is the bridge's external_ids key for what an attachment owes.
func OwedKey(k Key) string { return owedPrefix + wire.HostName(k.Network, k.ContainerID, k.IfName) }

// OwedValue is its value.
func OwedValue(k Key) string { return k.String() }

// Owed reads from a bridge's external_ids which attachments owe, in a stable order. What
// cannot be read is left out: only the plugin's own tools can free that address.
func Owed(ids map[string]string) []Key {
	var out []Key
	for name, value := range ids {
		parts := strings.Split(value, "/") // no part may hold one
		if !strings.HasPrefix(name, owedPrefix) || len(parts) != 3 {
			continue
		}
		if k := (Key{parts[0], parts[1], parts[2]}); OwedKey(k) == name {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b Key) int { return cmp.Compare(a.String(), b.String()) })
	return out
}
