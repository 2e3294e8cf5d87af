package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// EchoPort is where ServeEcho answers, by TCP and UDP.
const EchoPort = 9000

// ServeEcho answers TCP and UDP of both families in a namespace, with what was sent,
// until the test ends.
func ServeEcho(t *testing.T, namespace string) {
	t.Helper()
	for _, family := range []string{"4", "6"} {
		serveEcho(t, namespace, family)
	}
}

func serveEcho(t *testing.T, namespace, family string) {
	t.Helper()
	var listener net.Listener
	var socket net.PacketConn
	err := netns.Do(namespace, func() (err error) {
		if listener, err = net.Listen("tcp"+family, fmt.Sprintf(":%d", EchoPort)); err == nil {
			socket, err = net.ListenPacket("udp"+family, fmt.Sprintf(":%d", EchoPort))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() { acceptAll(t.Context(), listener) })
	wait.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, client, err := socket.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = socket.WriteTo(buffer[:n], client) // what is lost the client counts
			}
		}
	})
	t.Cleanup(func() {
		listener.Close()
		socket.Close()
		wait.Wait()
	})
}

// acceptAll sends back what each connection sends, until ctx ends.
func acceptAll(ctx context.Context, listener net.Listener) {
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		wait.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			_, _ = io.Copy(conn, conn) // the client tells what broke
		})
	}
}
