package lease

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cni/sluice/cni/conf"
)

// Further keys of a port's external_ids: of a second network, and of rates.
const (
	keyBridge      = "sluice-bridge"
	keyVLAN        = "sluice-vlan"
	keyTrunk       = "sluice-trunk"
	keyDevice      = "sluice-device"
	keyDeviceAlias = "sluice-device-alias"
	keyDeviceUp    = "sluice-device-up"
	keyGuard       = "sluice-macspoofchk"
	keyPromiscuous = "sluice-promisc"
	keyBandwidth   = "sluice-bandwidth"
	keyHostPorts   = "sluice-host-ports"
	keyMTUAsked    = "sluice-mtu-asked"
)

// moreKeys are the further keys and the words of the alias that say the same, each with
// how it is written and read. An empty text is left out.
var moreKeys = []struct {
	key, word string
	write     func(Lease) string
	read      func(*Lease, string) error
}{
	{keyBridge, "br", func(l Lease) string { return l.Layer2.Bridge }, func(l *Lease, s string) error { l.Layer2.Bridge = s; return nil }},
	{keyVLAN, "vlan", func(l Lease) string { return number(l.Layer2.VLAN) }, func(l *Lease, s string) (err error) { l.Layer2.VLAN, err = strconv.Atoi(s); return err }},
	{keyBandwidth, "bw", func(l Lease) string { return writeRates(l.Rates) }, func(l *Lease, s string) (err error) { l.Rates, err = readRates(s); return err }},
	{keyDevice, "dev", func(l Lease) string { return l.Layer2.Device }, func(l *Lease, s string) error { l.Layer2.Device = s; return nil }},
	{keyGuard, "guard", writeGuard, readGuard},
	{keyTrunk, "trunk", func(l Lease) string { return writeVLANs(l.Layer2.Trunk) }, func(l *Lease, s string) (err error) { l.Layer2.Trunk, err = readVLANs(s); return err }},
	{keyPromiscuous, "promisc", func(l Lease) string { return truth(l.Layer2.Promiscuous) }, func(l *Lease, _ string) error { l.Layer2.Promiscuous = true; return nil }},
	{keyDeviceUp, "up", func(l Lease) string { return truth(l.DeviceUp) }, func(l *Lease, _ string) error { l.DeviceUp = true; return nil }},
	{keyMTUAsked, "", func(l Lease) string { return truth(l.MTUAsked) }, func(l *Lease, _ string) error { l.MTUAsked = true; return nil }},
	{keyHostPorts, "", writeHostPorts, readHostPorts},
	{keyDeviceAlias, "", func(l Lease) string { return l.DeviceAlias }, func(l *Lease, s string) error { l.DeviceAlias = s; return nil }},
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// writeMore adds the further keys.
func (l Lease) writeMore(ids map[string]string) {
	for _, k := range moreKeys {
		if text := k.write(l); text != "" {
			ids[k.key] = text
		}
	}
}

// readMore reads them.
func (l *Lease) readMore(ids map[string]string) error {
	for _, k := range moreKeys {
		if text := ids[k.key]; text != "" {
			if err := k.read(l, text); err != nil {
				return fmt.Errorf("external_ids:%s: %w", k.key, err)
			}
		}
	}
	return nil
}

// writeVLANs is a sorted list in short, "3-5,9".
func writeVLANs(ids []int) string {
	var parts []string
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		if part := strconv.Itoa(ids[i]); j > i {
			parts = append(parts, part+"-"+strconv.Itoa(ids[j]))
		} else {
			parts = append(parts, part)
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

func readVLANs(s string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		a, b, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(a, 10, 12)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(b, 10, 12)
		}
		if err != nil {
			return nil, err
		}
		for id := first; id <= last; id++ {
			out = append(out, int(id))
		}
	}
	return out, nil
}

// writeRates is "RATE/BURST,RATE/BURST" of what is received and what is sent, in bits.
func writeRates(r conf.Rates) string {
	if r == (conf.Rates{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d,%d/%d", r.Ingress.Bits, r.Ingress.Burst, r.Egress.Bits, r.Egress.Burst)
}

func readRates(s string) (r conf.Rates, err error) {
	if _, err = fmt.Sscanf(s, "%d/%d,%d/%d", &r.Ingress.Bits, &r.Ingress.Burst, &r.Egress.Bits, &r.Egress.Burst); err != nil {
		return conf.Rates{}, fmt.Errorf("expected RATE/BURST,RATE/BURST, found %q", s)
	}
	return r, nil
}

// writeGuard is "own", and the MACs that are allowed beside.
func writeGuard(l Lease) string {
	if !l.Layer2.SpoofGuard {
		return ""
	}
	words := []string{"own"}
	for _, m := range l.Layer2.Allowed {
		words = append(words, m.String())
	}
	return strings.Join(words, ",")
}

func readGuard(l *Lease, s string) error {
	words := strings.Split(s, ",")
	l.Layer2.SpoofGuard = true
	for _, w := range words[1:] {
		m, err := net.ParseMAC(w)
		if err != nil {
			return err
		}
		l.Layer2.Allowed = append(l.Layer2.Allowed, m)
	}
	return nil
}

// Incomplete tells that the cable is there and its addresses are still to be set: the
// IPAM plugin runs in between, as dhcp asks by the cable.
func (l Lease) Incomplete() bool { return l.Layer2.Is() && l.IPAM != "" && len(l.Addresses) == 0 }

// devicePrefix begins the keys of external_ids in the Open_vSwitch row that are moved devices' rows.
const devicePrefix = "sluice-moved-"

// DeviceKey is the key of external_ids in the Open_vSwitch row that is the row of a moved device,
// which has no port.
func (l Lease) DeviceKey() string { return devicePrefix + l.Port }

// DeviceValue is its value: what a port's row would hold, as JSON.
func (l Lease) DeviceValue() string {
	text, _ := json.Marshal(l.ExternalIDs()) // strings
	return string(text)
}

// Devices reads all moved devices from the Open_vSwitch row's external_ids, and what is wrong with
// those that cannot be read.
func Devices(ids map[string]string) (out []Lease, problems []string) {
	for _, key := range slices.Sorted(maps.Keys(ids)) {
		port, ok := strings.CutPrefix(key, devicePrefix)
		if !ok {
			continue
		}
		var row map[string]string
		l, ours := Lease{}, false
		err := json.Unmarshal([]byte(ids[key]), &row)
		if err == nil {
			l, ours, err = Parse(port, 0, row)
		}
		if err == nil && (!ours || l.Layer2.Device == "") {
			err = fmt.Errorf("external_ids:%s is no device", key)
		}
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		out = append(out, l)
	}
	return out, problems
}
