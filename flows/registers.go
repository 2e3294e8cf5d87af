package flows

// What one table tells the next. All registers are 32 bits wide and 0 at the start.
//
//	reg0   bit 0      the packet comes from a local pod
//	       bit 1      an answer made by the agent itself (not built yet)
//	reg1   0..31      OpenFlow port by which the packet leaves
//	reg3   0..31      policy being called                              (not built yet)
//	reg4   0..31      verdict so far                                   (not built yet)
//	reg5   bit 0      a reply; bit 1: the connection is known          (not built yet)
//	reg7, xxreg3      address of the other end                         (not built yet)
//	reg8   0..31      identity of the other end                        (not built yet)
//	reg10  0..15 responder's port, 16..23 protocol, of a known connection (not built yet)
const (
	// RegOrigin holds the Origin bits.
	RegOrigin = Reg0
	// RegOutput holds the output port.
	RegOutput = Reg1
)

// OriginPod is RegOrigin's bit for a packet from a local pod.
const OriginPod uint32 = 1 << 0
