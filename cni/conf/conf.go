package conf

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/cni/ipam"
)

// Type is the value of "type": the name of the executable in CNI_PATH.
const Type = "sluice"

// Conf is the network configuration.
//
//	{
//	  "cniVersion": "1.1.0",
//	  "name": "pods",
//	  "type": "sluice",
//	  "socket": "/run/sluice/cni.sock",
//	  "mtu": 1450,
//	  "ranges": ["10.244.3.0/24", {"subnet": "10.9.0.0/24", "exclude": ["10.9.0.128/25"]}]
//	}
type Conf struct {
	// CNIVersion ("cniVersion", required) is the version of the specification that
	// the answer must have, one of wire.Versions.
	CNIVersion string
	// Name ("name", required) is the network's name, unique on the node: part of
	// each attachment's key.
	Name string
	// Socket ("socket") is the absolute path of the agent's socket, at most 107
	// bytes. Default: wire.DefaultSocket.
	Socket string
	// MTU ("mtu") is the link maximum of pods in bytes, 68 to 65535, and 1280 at
	// least if a range is IPv6. 0 (not given): the agent finds it out.
	MTU int
	// Ranges ("ranges", or "runtimeConfig.ipRanges", which wins) are where addresses
	// come from, in this order, instead of the Node's podCIDRs. Each is a prefix without
	// host bits, or an object of "subnet" with "rangeStart", "rangeEnd", "gateway" (an
	// address that no pod gets; default: the first) and "exclude" (addresses and
	// prefixes that only who asks for them gets). Each leaves at least one address for a
	// pod besides the network's, the gateway's and the broadcast address; no two
	// overlap. Nil if not given.
	Ranges []ipam.Range
	// IPAM ("ipam.type") is the plugin that gives the addresses instead; the
	// executable runs it. Empty: Sluice itself.
	IPAM string
	// Ask is what "runtimeConfig" ("ips", "mac") or else "args.cni" asks for.
	Ask Ask
	// Layer2 is set where the conf is of a second network.
	Layer2 Layer2
	// Rates ("bandwidth", or of a direction that it does not limit
	// "runtimeConfig.bandwidth") are how fast the container may be.
	Rates Rates
	// NoBandwidth ("bandwidth": false): another plugin sees to rates; also what the Pod's
	// annotations say is left to it.
	NoBandwidth bool
	// RatesFromRuntime tells that the runtime said something about rates: then the Pod's
	// annotations are in it.
	RatesFromRuntime bool
	// PortMappings ("runtimeConfig.portMappings") are the node's ports that lead to the
	// container. No two overlap.
	PortMappings []PortMapping
	// DisableGC ("disableGC"): GC deletes nothing.
	DisableGC bool
	// DNS ("dns") is handed back in the result, unused.
	DNS types.DNS

	// PrevResult ("prevResult") is the result of the ADD, in a DEL or a CHECK. The
	// runtime adds it. Nil if not given.
	PrevResult json.RawMessage
	// ValidAttachments ("cni.dev/valid-attachments", or its older spelling
	// "cni.dev/attachments"; both are united) are what GC must leave alone. The
	// runtime adds them.
	ValidAttachments []Attachment
	// AttachmentsListed tells an empty list, after which all may go, from a missing
	// one (or null), after which nothing may be deleted.
	AttachmentsListed bool

	fromRuntime, fromArgs  Ask
	runtimeRanges          []ipam.Range
	ownRates, runtimeRates Rates
}

// Attachment is the runtime's name of one cable (types.GCAttachment).
type Attachment struct {
	ContainerID string
	IfName      string
}
