// Package lease is an attachment as it stands in OVSDB: the external_ids of its
// port. The row is the lease of the pod's addresses; there is no second store.
package lease

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/flows/state"
)

// Keys of a port's external_ids. Operators read them with `ovs-vsctl list port`.
const (
	keyNetwork      = "sluice-network"
	keyContainer    = "sluice-container"
	keyIfName       = "sluice-ifname"
	keyNetNS        = "sluice-netns"
	keyPodNamespace = "sluice-pod-namespace"
	keyPodName      = "sluice-pod-name"
	keyPodUID       = "sluice-pod-uid"
	keyIPs          = "sluice-ips"
	keyMAC          = "sluice-mac"
	keyCreated      = "sluice-created"
	keyMTU          = "sluice-mtu"
	keyNetNSInode   = "sluice-netns-inode"
	keyIPAM         = "sluice-ipam"
)

// Key is what names an attachment, whole.
type Key struct {
	Network, ContainerID, IfName string
}

func (k Key) String() string { return k.Network + "/" + k.ContainerID + "/" + k.IfName }

// Lease is an attachment and where its other end is.
type Lease struct {
	state.Attachment
	// NetNS is the path of the sandbox's network namespace, as ADD was given it.
	NetNS string
	// NetNSInode is that namespace's inode number, which tells it from another at the
	// same path; 0 if not known.
	NetNSInode uint64
	// IPAM is the plugin that gave the addresses; empty: Sluice itself.
	IPAM string
	// Layer2 is where it is if not on br-sluice: on a bridge of the operator's, or a
	// device that was moved. Then nothing of it is in flows.
	Layer2 conf.Layer2
	// DeviceAlias is the alias that a moved device had, DeviceUp whether it was up.
	DeviceAlias string
	DeviceUp    bool
	// Rates are how fast the container may be.
	Rates conf.Rates
	// MTUAsked is set where the configuration has said the MTU: it does not follow the node's.
	MTUAsked bool
	// HostPortsOfPod is set where only the Pod's object knows the host ports.
	HostPortsOfPod bool
}

// Key of the lease.
func (l Lease) Key() Key { return Key{l.Network, l.ContainerID, l.IfName} }

// Holder says in words who has it: the pod, or the container.
func (l Lease) Holder() string {
	if l.PodName != "" {
		return "pod " + l.PodNamespace + "/" + l.PodName
	}
	return "container " + l.ContainerID + " (" + l.IfName + ")"
}

// ExternalIDs are what the port's row holds.
func (l Lease) ExternalIDs() map[string]string {
	ips := make([]string, len(l.Addresses))
	for i, a := range l.Addresses {
		ips[i] = a.String()
	}
	m := map[string]string{
		keyNetwork: l.Network, keyContainer: l.ContainerID, keyIfName: l.IfName, keyNetNS: l.NetNS,
		keyIPs: strings.Join(ips, ","), keyMAC: l.MAC, keyCreated: strconv.FormatInt(l.Created, 10),
	}
	inode := ""
	if l.NetNSInode != 0 {
		inode = strconv.FormatUint(l.NetNSInode, 10)
	}
	mtu := ""
	if l.MTU != 0 {
		mtu = strconv.Itoa(l.MTU)
	}
	for k, v := range map[string]string{
		keyPodNamespace: l.PodNamespace, keyPodName: l.PodName, keyPodUID: l.PodUID, keyNetNSInode: inode, keyIPAM: l.IPAM, keyMTU: mtu,
	} {
		if v != "" {
			m[k] = v
		}
	}
	l.writeMore(m)
	return m
}

// Parse reads a port's row. Ours is false for a port that is no attachment; an
// error names the key that cannot be read.
func Parse(port string, ofport int, ids map[string]string) (l Lease, ours bool, err error) {
	if _, ok := ids[keyContainer]; !ok {
		return Lease{}, false, nil
	}
	l = Lease{NetNS: ids[keyNetNS], IPAM: ids[keyIPAM], Attachment: state.Attachment{
		Network: ids[keyNetwork], ContainerID: ids[keyContainer], IfName: ids[keyIfName],
		PodNamespace: ids[keyPodNamespace], PodName: ids[keyPodName], PodUID: ids[keyPodUID],
		Port: port, MAC: ids[keyMAC],
	}}
	if ofport > 0 {
		l.OFPort = uint32(ofport)
	}
	for key, value := range map[string]string{keyNetwork: l.Network, keyIfName: l.IfName} {
		if value == "" {
			return l, true, fmt.Errorf("port %q: external_ids:%s is missing", port, key)
		}
	}
	if _, err := net.ParseMAC(l.MAC); err != nil {
		return l, true, fmt.Errorf("port %q: external_ids:%s: %w", port, keyMAC, err)
	}
	for s := range strings.SplitSeq(ids[keyIPs], ",") {
		if s == "" {
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return l, true, fmt.Errorf("port %q: external_ids:%s: %w", port, keyIPs, err)
		}
		l.Addresses = append(l.Addresses, a)
	}
	if l.Created, err = strconv.ParseInt(cmp.Or(ids[keyCreated], "0"), 10, 64); err != nil {
		return l, true, fmt.Errorf("port %q: external_ids:%s: %w", port, keyCreated, err)
	}
	if l.MTU, err = strconv.Atoi(cmp.Or(ids[keyMTU], "0")); err != nil {
		return l, true, fmt.Errorf("port %q: external_ids:%s: %w", port, keyMTU, err)
	}
	if l.NetNSInode, err = strconv.ParseUint(cmp.Or(ids[keyNetNSInode], "0"), 10, 64); err != nil {
		return l, true, fmt.Errorf("port %q: external_ids:%s: %w", port, keyNetNSInode, err)
	}
	if err := l.readMore(ids); err != nil {
		return l, true, fmt.Errorf("port %q: %w", port, err)
	}
	return l, true, nil
}
