package scenarios

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// asker is a UDP client that keeps its socket and asks on, without end: what conntrack knows of it
// never gets old.
type asker struct {
	name   string
	answer atomic.Pointer[string]
}

// keepsAsking starts one; it ends with the test.
func keepsAsking(t *testing.T, l *lab.Lab, place, address string) *asker {
	t.Helper()
	end, err := lab.ParseEndpoint(place)
	if err != nil {
		t.Fatal(err)
	}
	spot, err := l.Spot(end)
	if err != nil {
		t.Fatal(err)
	}
	var socket net.Conn
	if err := spot.Do(func() (err error) { socket, err = net.Dial("udp", net.JoinHostPort(address, "7000")); return err }); err != nil {
		t.Fatalf("%s to %s: %v", place, address, err)
	}
	a := &asker{name: place + " to " + address}
	none := ""
	a.answer.Store(&none)
	done := make(chan struct{})
	t.Cleanup(func() { socket.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 200)
		for {
			_, err := socket.Write([]byte("?\n")) // it may be refused: there are times when nobody is there
			_ = socket.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			n, err2 := socket.Read(buf)
			if errors.Is(err, net.ErrClosed) || errors.Is(err2, net.ErrClosed) {
				return
			}
			if err2 == nil {
				text := strings.TrimSpace(string(buf[:n]))
				a.answer.Store(&text)
			} else if !errors.Is(err2, os.ErrDeadlineExceeded) {
				time.Sleep(20 * time.Millisecond) // refused
			}
		}
	}()
	return a
}

// udpOnHost is a pod with a UDP host port on n1.
const udpOnHost = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 53, hostPort: 7000, protocol: UDP}]}]}
`

// TestAUDPClientIsServedByThePodThatIsThere: sockets that were there before any pod, that outlive
// one, and that outlive one that went while no agent ran.
func TestAUDPClientIsServedByThePodThatIsThere(t *testing.T) {
	l := hostPortLab(t, strings.TrimPrefix(strings.TrimSpace(beside), "---"))
	var askers []*asker
	for _, place := range []string{"outside", "node/n2", "node/n1", "a1", "a2"} {
		for _, address := range []string{node4, node6} {
			askers = append(askers, keepsAsking(t, l, place, address))
		}
	}
	askers = append(askers, keepsAsking(t, l, "node/n1", loopback4), keepsAsking(t, l, "node/n1", loopback6))
	serves := func(name string) {
		t.Helper()
		if err := l.ApplyYAML(testContext(t), fmt.Sprintf(udpOnHost, name)); err != nil {
			t.Fatal(err)
		}
		for _, a := range askers {
			took := within(t, bound, a.name+" is answered by "+name, func() error {
				if got := *a.answer.Load(); got != "default/"+name {
					return fmt.Errorf("answered by %q", got)
				}
				return nil
			})
			if took > time.Second {
				t.Logf("measured: %s had to wait %s for %s", a.name, took.Round(10*time.Millisecond), name)
			}
		}
	}
	goes := func(name string) {
		t.Helper()
		key, err := l.Find("pod/default/" + name)
		if err == nil {
			err = l.Delete(testContext(t), []lab.Key{key})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	serves("first")
	goes("first")
	serves("second")
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	goes("second")
	restarted(t, l, node(t, l, "n1"), lab.Agent)
	serves("third")
	goes("third")
	nothingOfHostPorts(t, l, node(t, l, "n1"))
}
