package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// forward makes a TCP service in a network namespace reachable from this machine's
// own: on a port of 127.0.0.1, which it writes to portFile.
func forward(ctx context.Context, path, to, portFile string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	part := portFile + ".part"
	if err := os.WriteFile(part, fmt.Append(nil, listener.Addr().(*net.TCPAddr).Port), 0o644); err != nil {
		return err
	}
	if err := os.Rename(part, portFile); err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		go func() {
			if err := relay(ctx, conn.(*net.TCPConn), path, to); err != nil {
				fmt.Fprintln(os.Stderr, "sluice-cluster:", err)
			}
		}()
	}
}

func relay(ctx context.Context, here *net.TCPConn, path, to string) error {
	defer here.Close()
	var there *net.TCPConn
	err := netns.Do(path, func() error {
		address, err := net.ResolveTCPAddr("tcp", to)
		if err == nil {
			there, err = net.DialTCP("tcp", nil, address)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer there.Close()
	stop := context.AfterFunc(ctx, func() { here.Close(); there.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(there, here)
		_ = there.CloseWrite()
	}()
	_, _ = io.Copy(here, there)
	_ = here.CloseWrite()
	<-done
	return nil
}
