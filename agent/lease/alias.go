package lease

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/state"
)

// The alias of a cable's host end is a copy of its lease, for people who look at
// `ip link`, and for an agent that finds the cable and no row: OVSDB was lost. No
// decision is made by it while there is a row.

// AliasPrefix begins the alias of a cable that is in use, and of a device that was moved.
const AliasPrefix = wire.LentPrefix

// maxAlias is the longest alias in bytes (IFALIASZ less the terminating zero).
const maxAlias = 255

// Alias is the lease as text: words of the form key=value, the most needed first. What
// does not fit is left out from the end: it is found out again otherwise.
func (l Lease) Alias() string {
	ips := make([]string, len(l.Addresses))
	for i, a := range l.Addresses {
		ips[i] = a.String()
	}
	words := [][2]string{
		{"net", l.Network},
		{"if", l.IfName},
		{"ip", strings.Join(ips, ",")},
		{"mac", strings.ReplaceAll(l.MAC, ":", "")},
		{"of", strconv.FormatUint(uint64(l.OFPort), 10)},
		{"t", strconv.FormatInt(l.Created, 36)},
		{"ipam", l.IPAM},
		{"id", l.ContainerID},
	}
	for _, k := range moreKeys {
		if k.word != "" {
			words = append(words, [2]string{k.word, k.write(l)})
		}
	}
	words = append(words, [][2]string{
		{"ino", strconv.FormatUint(l.NetNSInode, 10)},
		{"pod", podOf(l)},
		{"uid", l.PodUID},
	}...)
	ports := writeHostPorts(l)
	room := maxAlias
	if ports != "" {
		room -= len(hostPortsOfPod)
	}
	out := AliasPrefix
	for _, w := range words {
		word := " " + w[0] + "=" + w[1]
		if w[1] != "" && len(out)+len(word) <= room {
			out += word
		}
	}
	switch word := " hp=" + ports; {
	case ports == "":
	case len(out)+len(word) <= maxAlias:
		out += word
	default:
		out += hostPortsOfPod
	}
	return out
}

// hostPortsOfPod stands for host ports for which there is no room: the Pod has them.
const hostPortsOfPod = " hp=*"

func podOf(l Lease) string {
	if l.PodName == "" {
		return ""
	}
	return l.PodNamespace + "/" + l.PodName
}

// ParseAlias reads an alias. OFPort is the number that was asked for. The pod and its
// uid may be missing, and the path of the namespace always is: its inode tells it. Where
// HostPortsOfPod is set, the host ports are missing, too.
func ParseAlias(port, alias string) (Lease, error) {
	rest, ours := strings.CutPrefix(alias, AliasPrefix)
	if !ours {
		return Lease{}, fmt.Errorf("port %q: alias %q is not one of Sluice's", port, alias)
	}
	words := map[string]string{}
	for w := range strings.FieldsSeq(rest) {
		key, value, _ := strings.Cut(w, "=")
		words[key] = value
	}
	l := Lease{IPAM: words["ipam"], Attachment: state.Attachment{
		Network: words["net"], ContainerID: words["id"], IfName: words["if"], PodUID: words["uid"], Port: port,
	}}
	l.PodNamespace, l.PodName, _ = strings.Cut(words["pod"], "/")
	var errs []error
	for _, k := range moreKeys {
		if text := words[k.word]; text != "" {
			errs = append(errs, k.read(&l, text))
		}
	}
	for _, key := range []string{"net", "id", "if", "ip"} {
		if words[key] == "" && (key != "ip" || !l.Layer2.Is()) {
			errs = append(errs, fmt.Errorf("%s is missing", key))
		}
	}
	for s := range strings.SplitSeq(words["ip"], ",") {
		if s == "" {
			continue
		}
		a, err := netip.ParseAddr(s)
		errs = append(errs, err)
		l.Addresses = append(l.Addresses, a)
	}
	if ports := words["hp"]; ports == "*" {
		l.HostPortsOfPod = true
	} else if ports != "" {
		errs = append(errs, readHostPorts(&l, ports))
	}
	mac, err := macOf(words["mac"])
	of, err2 := strconv.ParseUint(words["of"], 10, 32)
	created, err3 := strconv.ParseInt(words["t"], 36, 64)
	inode, err4 := strconv.ParseUint(words["ino"], 10, 64)
	if err := errors.Join(append(errs, err, err2, err3, err4)...); err != nil {
		return Lease{}, fmt.Errorf("port %q: alias %q: %w", port, alias, err)
	}
	l.MAC, l.OFPort, l.Created, l.NetNSInode = mac, uint32(of), created, inode
	return l, nil
}

// macOf reads twelve hexadecimal digits.
func macOf(digits string) (string, error) {
	if len(digits) != 12 {
		return "", fmt.Errorf("mac %q has not twelve digits", digits)
	}
	var text []string
	for i := 0; i < 12; i += 2 {
		text = append(text, digits[i:i+2])
	}
	mac, err := net.ParseMAC(strings.Join(text, ":"))
	return mac.String(), err
}
