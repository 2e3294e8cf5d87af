package plug

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// The spoof guard of a cable on a bridge that is not ours: a program of a few
// instructions at the cable's host end, which comes and goes with the cable. It asks
// nothing of the bridge, whose flows are its operator's, and nothing in the container can
// take it away.
//
// Where the kernel's datapath takes frames from the device, it stands in tc's ingress hook
// (bpf(8) of iproute2, direct action), which is before it. Userspace Open vSwitch reads
// from a packet socket, which is before tc: there it stands in the generic XDP hook.

// guardName is the filter's name for tc(8).
const guardName = "sluice-guard"

// SetGuard lets only frames from these source MACs pass from the container. Userspace
// tells that the cable's bridge has that datapath.
func SetGuard(hostName string, macs []net.HardwareAddr, userspace bool) error {
	if err := setGuard(hostName, macs, userspace); err != nil {
		return fmt.Errorf("%s: set the guard against other MACs: %w", hostName, err)
	}
	return nil
}

func setGuard(hostName string, macs []net.HardwareAddr, userspace bool) error {
	link, err := netlink.LinkByName(hostName)
	if err != nil {
		return err
	}
	if userspace {
		fd, err := loadProgram(unix.BPF_PROG_TYPE_XDP, guardProgram(macs, 0, 4, xdpPass, xdpDrop))
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return netlink.LinkSetXdpFdWithFlags(link, fd, unix.XDP_FLAGS_SKB_MODE)
	}
	fd, err := loadProgram(unix.BPF_PROG_TYPE_SCHED_CLS, guardProgram(macs, skbData, skbDataEnd, tcOK, tcShot))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	hook := &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscReplace(hook); err != nil {
		return fmt.Errorf("add clsact: %w", err)
	}
	return netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:          fd, Name: guardName, DirectAction: true,
	})
}

// Guarded tells whether there is a guard at the host end. The error may be [ErrNoInterface].
func Guarded(hostName string) (bool, error) {
	link, err := netlink.LinkByName(hostName)
	if noDevice(err) {
		err = ErrNoInterface
	}
	if err != nil {
		return false, fmt.Errorf("%s: look for the guard: %w", hostName, err)
	}
	if x := link.Attrs().Xdp; x != nil && x.Attached {
		return true, nil
	}
	filters, err := rtnl.Filters(rtnl.Here, link, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return false, fmt.Errorf("%s: look for the guard: %w", hostName, err)
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Name == guardName {
			return true, nil
		}
	}
	return false, nil
}

// Verdicts of linux/bpf.h and linux/pkt_cls.h, and where struct __sk_buff has the frame.
const (
	xdpDrop, xdpPass    = 1, 2
	tcOK, tcShot        = 0, 2
	skbData, skbDataEnd = 76, 80
)

// instruction is struct bpf_insn.
type instruction struct {
	op        uint8
	registers uint8 // destination in the low four bits, source in the high ones
	offset    int16
	immediate int32
}

// Of linux/bpf.h and linux/bpf_common.h, as far as the guard needs them.
const (
	load32      = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	load16      = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_H
	move        = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X
	moveNumber  = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	addNumber   = unix.BPF_ALU64 | unix.BPF_ADD | unix.BPF_K
	jumpGreater = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_X
	jumpNot32   = unix.BPF_JMP32 | unix.BPF_JNE | unix.BPF_K
	jumpIs32    = unix.BPF_JMP32 | unix.BPF_JEQ | unix.BPF_K
	exit        = unix.BPF_JMP | unix.BPF_EXIT
)

// guardProgram compares the source MAC of a frame, which begins at *(ctx+data), with each
// of these.
func guardProgram(macs []net.HardwareAddr, data, dataEnd int16, pass, drop int32) []instruction {
	const r0, ctx, frame, end, look, high, low = 0, 1, 2, 3, 4, 5, 6
	const head, header = 7, 14 // instructions before the first comparison, bytes of Ethernet's
	dropAt := head + 2*len(macs)
	passAt := dropAt + 2
	p := []instruction{
		{load32, frame | ctx<<4, data, 0},
		{load32, end | ctx<<4, dataEnd, 0},
		{move, look | frame<<4, 0, 0},
		{addNumber, look, 0, header},
		{jumpGreater, look | end<<4, int16(dropAt - 5), 0},
		{load32, high | frame<<4, 6, 0},
		{load16, low | frame<<4, 10, 0},
	}
	for _, m := range macs {
		p = append(p,
			instruction{jumpNot32, high, 1, int32(binary.NativeEndian.Uint32(m[:4]))},
			instruction{jumpIs32, low, int16(passAt - len(p) - 2), int32(binary.NativeEndian.Uint16(m[4:6]))})
	}
	return append(p,
		instruction{moveNumber, r0, 0, drop}, instruction{exit, 0, 0, 0},
		instruction{moveNumber, r0, 0, pass}, instruction{exit, 0, 0, 0})
}

// programAttr is the beginning of union bpf_attr for BPF_PROG_LOAD.
type programAttr struct {
	kind, count              uint32
	instructions, license    uint64
	logLevel, logSize        uint32
	log                      uint64
	kernelVersion, progFlags uint32
	name                     [16]byte
}

// loadProgram gives a program to the kernel and returns its descriptor.
func loadProgram(kind uint32, program []instruction) (int, error) {
	license := []byte("Apache-2.0\x00")
	attr := programAttr{
		kind: kind, count: uint32(len(program)),
		instructions: uint64(uintptr(unsafe.Pointer(&program[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	copy(attr.name[:], "sluice_guard")
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(program)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, fmt.Errorf("load the program (bpf(2)): %w", errno)
	}
	return int(fd), nil
}
