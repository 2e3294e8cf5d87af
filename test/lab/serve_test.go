package lab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/slow"
)

// protocols are those that servers speak on this machine.
func protocols() []string {
	if HasSCTP() {
		return []string{"tcp", "udp", "sctp"}
	}
	return []string{"tcp", "udp"}
}

// serving starts a server on a free port of this machine and returns the port.
func serving(t *testing.T, serve Serve) int {
	t.Helper()
	listener, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	for _, protocol := range protocols() {
		serve.Listen = append(serve.Listen, protocol+":"+strconv.Itoa(port))
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- serve.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return port
}

func TestAServerAnswersAProbe(t *testing.T) {
	port := serving(t, Serve{Answer: "prod/web"})
	for _, protocol := range protocols() {
		for _, size := range []int{1, 1400} {
			// Any address of the machine is asked and answers, not only the first.
			address := netip.MustParseAddr("127.0.0.2")
			got, err := target{address: address, port: port, size: size}.try(context.Background(), "", protocol, true)
			if err != nil || got != "prod/web" {
				t.Errorf("%s with %d bytes: answer %q, %v", protocol, size, got, err)
			}
		}
	}
}

func TestAServerTellsTheClient(t *testing.T) {
	port := serving(t, Serve{Answer: "outside", TellClient: true})
	for _, protocol := range protocols() {
		got, err := target{address: netip.MustParseAddr("127.0.0.1"), port: port, size: 1}.try(context.Background(), "", protocol, true)
		if err != nil || got != "outside 127.0.0.1" {
			t.Errorf("%s: answer %q, %v", protocol, got, err)
		}
	}
}

func TestAClientThatOnlyReadsComesToAnEnd(t *testing.T) {
	port := serving(t, Serve{Answer: "prod/web"})
	conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(slow.Bound(2 * time.Second)))
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "prod/web\n" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestNobodyAnswersOnAClosedPort(t *testing.T) {
	for _, protocol := range protocols() {
		_, err := target{address: netip.MustParseAddr("127.0.0.1"), port: 1, size: 1}.try(context.Background(), "", protocol, true)
		if err == nil || err.Error() != "connection refused" {
			t.Errorf("%s: error %v", protocol, err)
		}
	}
}

func TestListeningOnATakenPortFails(t *testing.T) {
	port := serving(t, Serve{Answer: "x"})
	err := Serve{Answer: "y", Listen: []string{"tcp:" + strconv.Itoa(port)}}.Run(context.Background(), func() { t.Error("ready") })
	if err == nil {
		t.Error("no error")
	}
}
