package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/sluice-cni/sluice/cni/wire"
)

// bringDevice brings a device home that was moved into the container, as the namespace may go next, and many
// kinds of devices with it. It comes under its passing name, with its alias: by that an agent knows it,
// and makes it what it was. It succeeds if there is none.
func bringDevice(req *wire.Request, id identity) error {
	runtime.LockOSThread() // for good: the process ends soon
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	pod, err := os.Open(req.NetNS)
	if req.NetNS == "" || errors.Is(err, os.ErrNotExist) {
		return nil // what the kernel has made of the device the agent will see
	}
	if err != nil {
		return err
	}
	defer pod.Close()
	switch err := enter(pod); {
	case errors.Is(err, syscall.EINVAL):
		return nil // the namespace has gone from there
	case err != nil:
		return fmt.Errorf("enter %q: %w", req.NetNS, err)
	}
	index, err := lent(id.Name, req.IfName)
	if err == nil && index != 0 {
		err = moveLink(index, wire.PassingName(id.Name, req.ContainerID, req.IfName), home)
	}
	return errors.Join(err, enter(home))
}

// What package syscall lacks; golang.org/x/sys would cost start-up time.
const (
	attributeAlias     = 20   // IFLA_IFALIAS
	attributeNamespace = 28   // IFLA_NET_NS_FD
	dumpInterrupted    = 0x10 // NLM_F_DUMP_INTR
)

// setns is the number of the system call of that name, by architecture.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268, "ppc64le": 350, "riscv64": 268, "s390x": 339}

// enter moves the calling thread into a network namespace.
func enter(ns *os.File) error {
	number, known := setns[runtime.GOARCH]
	if !known {
		return syscall.ENOSYS
	}
	if _, _, errno := syscall.Syscall(number, ns.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
		return errno
	}
	return nil
}

// moveLink moves a device into another namespace, under another name and down.
func moveLink(index int32, name string, to *os.File) error {
	fd := binary.NativeEndian.AppendUint32(nil, uint32(to.Fd()))
	errno, err := tell(linkMessage(syscall.RTM_SETLINK, index, attribute(syscall.IFLA_IFNAME, name+"\x00"), attribute(attributeNamespace, string(fd))))
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

// listings is how often the devices are asked for while they change.
const listings = 20

// lent is the index of the device in this namespace whose alias says that it was moved here for the network
// and interface; 0 if there is none.
func lent(network, ifName string) (int32, error) {
	for range listings {
		table, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
		if err != nil {
			return 0, fmt.Errorf("list devices: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(table)
		if err != nil {
			return 0, fmt.Errorf("list devices: %w", err)
		}
		if slices.ContainsFunc(messages, func(m syscall.NetlinkMessage) bool { return m.Header.Flags&dumpInterrupted != 0 }) {
			continue
		}
		for i := range messages {
			if index, alias := aliasOf(&messages[i]); isLent(alias, network, ifName) {
				return index, nil
			}
		}
		return 0, nil
	}
	return 0, errors.New("list devices: they never cease to change")
}

// aliasOf is a device's index and alias.
func aliasOf(m *syscall.NetlinkMessage) (index int32, alias string) {
	if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg {
		return 0, ""
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return 0, ""
	}
	for _, a := range attributes {
		if a.Attr.Type == attributeAlias {
			alias = strings.TrimRight(string(a.Value), "\x00")
		}
	}
	return int32(binary.NativeEndian.Uint32(m.Data[4:])), alias
}

func isLent(alias, network, ifName string) bool {
	words, ours := strings.CutPrefix(alias, wire.LentPrefix)
	list := strings.Fields(words)
	return ours && slices.Contains(list, "net="+network) && slices.Contains(list, "if="+ifName)
}
