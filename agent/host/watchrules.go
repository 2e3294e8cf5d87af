package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rulesBuffer is for a burst of changes, in bytes: kube-proxy rewrites thousands of rules
// at once.
const rulesBuffer = 1 << 20

// WatchRules sends to changed whenever somebody, this agent too, changes our nftables
// tables, until ctx ends. Changed has room for one value; several changes may be one.
func WatchRules(ctx context.Context, changed chan<- struct{}) error {
	if err := follow(ctx, changed, aboutOurTable, unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	return nil
}

// WatchSettings does so for sysctls of forwarding and of reverse path filters.
func WatchSettings(ctx context.Context, changed chan<- struct{}) error {
	all := func(syscall.NetlinkMessage) bool { return true }
	if err := follow(ctx, changed, all, unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF); err != nil {
		return fmt.Errorf("watch sysctls: %w", err)
	}
	return nil
}

// follow tells of the groups' messages that concern us until ctx ends.
func follow(ctx context.Context, changed chan<- struct{}, ours func(syscall.NetlinkMessage) bool, protocol int, groups ...uint) error {
	s, err := nl.Subscribe(protocol, groups...)
	if err != nil {
		return err
	}
	if err := s.SetReceiveBufferSize(rulesBuffer, true); err != nil {
		s.Close()
		return err
	}
	stop := context.AfterFunc(ctx, s.Close)
	defer func() {
		if stop() {
			s.Close()
		}
	}()
	for {
		messages, _, err := s.Receive()
		switch {
		case ctx.Err() != nil, errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENOBUFS): // some were lost
			tell(changed)
			continue
		case err != nil:
			return err
		}
		if slices.ContainsFunc(messages, ours) {
			tell(changed)
		}
	}
}

// firstAttribute is where an nftables message's attributes begin: behind nfgenmsg
// (linux/netfilter/nfnetlink.h).
const firstAttribute = 4

// aboutOurTable tells whether a message is about a table of our name or something in
// it. In messages about tables, chains, rules, sets and their elements the attribute of
// type 1 is the table's name (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, ... of
// linux/netfilter/nf_tables.h).
func aboutOurTable(m syscall.NetlinkMessage) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false
	}
	const header, name = unix.SizeofNlAttr, 1
	for data := m.Data[min(firstAttribute, len(m.Data)):]; len(data) >= header; {
		size, kind := int(binary.NativeEndian.Uint16(data)), binary.NativeEndian.Uint16(data[2:])
		if size < header || size > len(data) {
			return false
		}
		if kind == name {
			return string(data[header:size]) == table+"\x00"
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	return false
}
