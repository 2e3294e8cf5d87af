package flows

// What one table tells the next. All registers are 32 bits wide and 0 at the start.
//
//	reg0   bit 0      the packet comes from a local pod
//	       bit 1      an answer made by the agent itself (not built yet)
//	reg1   0..31      OpenFlow port by which the packet leaves
//	reg2   0..31      backend that a Service with affinity gives, 0 again behind the translation
//	reg3   0..31      policy being called; for the table calls: 0..15 the pod's port,
//	       16..23     the table that asks
//	reg4   0..31      verdict so far
//	reg5   bit 0      a reply; bit 1: the connection is known; bit 2: a new one, and judged;
//	       bit 3: the answer to a refusal
//	reg7, xxreg3      address of the other end
//	reg6   0..31      label set of the other end
//	reg8   0..31      identity of the other end
//	reg9   0..30      namespace of the other end, bit 31: it is a pod
//	reg10  0..15 responder's port, 16..23 protocol, of a known connection
const (
	// RegOrigin holds the Origin bits.
	RegOrigin = Reg0
	// RegOutput holds the output port.
	RegOutput = Reg1
	// RegBackend holds a backend's number among a port's, and 1.
	RegBackend = Reg2
	// RegPolicy holds the number of the policy's block being called, or which pod's, for the
	// table Calls.
	RegPolicy = Reg3
	// RegVerdict holds a Verdict.
	RegVerdict = Reg4
	// RegConnection holds the Connection bits.
	RegConnection = Reg5
	// RegLabels, RegIdentity and RegNamespace say who the other end is; 0 for what is no pod,
	// or one that no rule here is about.
	RegLabels    = Reg6
	RegIdentity  = Reg8
	RegNamespace = Reg9
	// RegPeer and RegPeerIPv6 hold the other end's address.
	RegPeer     = Reg7
	RegPeerIPv6 = XXReg3
	// RegPort holds a known connection's port and protocol.
	RegPort = Reg10
)

// The verdicts of a tier: RegVerdict.
const (
	Undecided uint64 = iota
	Accept
	Deny
	Pass
)

// Bits of RegConnection.
const (
	ConnectionReply uint64 = 1 << 0
	ConnectionKnown uint64 = 1 << 1
	// ConnectionJudged is set where a policy asks about a new connection. What is not judged
	// is remembered without port and address, which its cached flows then do not have.
	ConnectionJudged uint64 = 1 << 2
	// ConnectionRefused is set on the answer that tells a client that nobody serves it: it is the
	// node's own word, and not judged.
	ConnectionRefused uint64 = 1 << 3
)

// NamespaceIsPod is RegNamespace's bit for a pod.
const NamespaceIsPod uint64 = 1 << 31

// Zones of conntrack.
const (
	// ZonePods is of all that pods send and receive.
	ZonePods uint16 = 100
	// ZoneSources is of connections whose source is translated, so that the answer comes back
	// to the switch: a pod's or the host's to itself, and those that are refused.
	ZoneSources uint16 = 300
)

// CTMarkValid is the bit of ct_mark that says that those below it are valid, and that ct_label
// holds the responder's real address. Where it is not set, conntrack's own tuple says both: nothing
// has been translated.
//
//	0..15   the responder's real port
//	16..23  its protocol
//	24      CTMarkValid
//	25      CTMarkService
//	26      CTMarkRefused
const CTMarkValid uint64 = 1 << 24

const (
	// CTMarkService says that a Service's bucket has translated the connection, and remembered
	// it: what it holds is valid.
	CTMarkService uint64 = 1 << 25
	// CTMarkRefused is in ZoneSources that of a connection which nobody serves.
	CTMarkRefused uint64 = 1 << 26
)

// OriginPod is RegOrigin's bit for a packet from a local pod.
const OriginPod uint32 = 1 << 0
