package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/cni/wire/server"
	"github.com/sluice-cni/sluice/test/slow"
)

// plugin is the executable under test, built as a release is.
var plugin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sluice-cni-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	plugin = filepath.Join(dir, "sluice")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=v0.0.1-test", "-o", plugin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// outcome is what a run of the executable leaves to see.
type outcome struct {
	status         int
	stdout, stderr string
	took           time.Duration
}

// runPlugin runs the executable with no other environment.
func runPlugin(t *testing.T, stdin string, env ...string) outcome {
	t.Helper()
	cmd := exec.Command(plugin)
	cmd.Env = env
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
}

// wantError checks that a run failed as the specification demands, and returns the error.
func (o outcome) wantError(t *testing.T, cniVersion string, code uint) wire.Error {
	t.Helper()
	var e struct {
		CNIVersion string `json:"cniVersion"`
		wire.Error
	}
	if err := json.Unmarshal([]byte(o.stdout), &e); err != nil {
		t.Fatalf("standard output is no JSON: %v\n%s", err, o.stdout)
	}
	if o.status != 1 || e.CNIVersion != cniVersion || e.Code != code || e.Msg == "" {
		t.Errorf("exit status %d, error %+v; want code %d in version %s", o.status, e, code, cniVersion)
	}
	return e.Error
}

// variables are those of a run.
func variables(command string) []string {
	return []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/x", "CNI_IFNAME=eth0",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web", "CNI_PATH=/opt/cni/bin",
	}
}

// config is a network configuration with a socket.
func config(socket string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "type": "sluice", "socket": %q}`, socket)
}

// agent is a real server with a handler of the test's.
func agent(t testing.TB, h server.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "cni.sock")
	l, err := server.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Serve(ctx, l, h, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() { cancel(); <-done })
	return socket
}

// strangeAgent reads a request, says something, and hangs up; or hangs until the test
// ends.
func strangeAgent(t *testing.T, says string, hangs bool) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "cni.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wire.ReadRequest(c)
			io.WriteString(c, says)
			if hangs {
				<-ended
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { close(ended); l.Close(); <-done })
	return socket
}

func frame(body string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body
}

func TestTheAgentIsToldAllThatTheRuntimeSaid(t *testing.T) {
	got := make(chan *wire.Request, 1)
	socket := agent(t, func(_ context.Context, r *wire.Request) (any, error) { got <- r; return struct{}{}, nil })
	if o := runPlugin(t, config(socket), variables("ADD")...); o.status != 0 {
		t.Fatalf("%+v", o)
	}
	want := &wire.Request{
		Command: "ADD", ContainerID: "c1", NetNS: "/run/netns/x", IfName: "eth0", Args: "IgnoreUnknown=1;K8S_POD_NAME=web", Path: "/opt/cni/bin",
		Config: json.RawMessage(strings.ReplaceAll(config(socket), `": "`, `":"`)), TimeoutMS: 60000, Client: "v0.0.1-test", Receipt: true,
	}
	want.Config = json.RawMessage(strings.ReplaceAll(string(want.Config), `", "`, `","`))
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Error(diff)
	}
}

func TestTheAgentsAnswerIsPrinted(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		answer  any
		err     error
		status  int
		stdout  string
	}{
		"a result":             {"ADD", map[string]any{"cniVersion": "1.0.0", "ips": []int{}}, nil, 0, `{"cniVersion":"1.0.0","ips":[]}` + "\n"},
		"a verb without one":   {"CHECK", nil, nil, 0, ""},
		"DEL":                  {"DEL", nil, nil, 0, ""},
		"STATUS":               {"STATUS", nil, nil, 0, ""},
		"GC":                   {"GC", nil, nil, 0, ""},
		"an error":             {"ADD", nil, types.NewError(7, "mtu: bad", "more"), 1, `{"cniVersion":"1.0.0","code":7,"msg":"mtu: bad","details":"more"}` + "\n"},
		"an error of STATUS":   {"STATUS", nil, types.NewError(51, "no OVS", ""), 1, `{"cniVersion":"1.0.0","code":51,"msg":"no OVS"}` + "\n"},
		"an error of DEL":      {"DEL", nil, types.NewError(999, "no", ""), 1, `{"cniVersion":"1.0.0","code":999,"msg":"no"}` + "\n"},
		"an ADD that has none": {"ADD", nil, nil, 1, `{"cniVersion":"1.0.0","code":999,"msg":"the agent answered ADD without a result"}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := agent(t, func(context.Context, *wire.Request) (any, error) { return c.answer, c.err })
			o := runPlugin(t, config(socket), variables(c.command)...)
			if o.status != c.status || o.stdout != c.stdout || o.stderr != "" {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestWithoutAnAgentTheErrorSaysWhereAndWhatToDo(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cni.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: socket + ".stale"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for command, code := range map[string]uint{"ADD": 11, "CHECK": 11, "STATUS": 50, "GC": 11} {
		for _, path := range []string{socket, socket + ".stale", "/" + strings.Repeat("long", 50)} {
			o := runPlugin(t, config(path), variables(command)...)
			e := o.wantError(t, "1.0.0", code)
			if !strings.Contains(e.Msg, path) || !strings.Contains(e.Details, "sluice-agent") {
				t.Errorf("%s: %+v", command, e)
			}
			if o.took > slow.Bound(time.Second) {
				t.Errorf("%s took %v", command, o.took)
			}
		}
	}
}

func TestAnAgentThatAnswersStrangelyIsAnError(t *testing.T) {
	for name, says := range map[string]string{
		"nothing":                 "",
		"half a length":           "\x00\x00",
		"half an answer":          frame(`{"result":{}}`)[:9],
		"no JSON":                 frame("hello"),
		"JSON of another type":    frame(`["result"]`),
		"an answer that is huge":  "\x7f\xff\xff\xff{",
		"another protocol":        "HTTP/1.1 400 Bad Request\r\n\r\n",
		"an answer of many bytes": frame(`{"result":"` + strings.Repeat("a", 2*wire.MaxMessage) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			socket := strangeAgent(t, says, false)
			for command, code := range map[string]uint{"ADD": 11, "CHECK": 11, "STATUS": 50, "GC": 11} {
				if e := runPlugin(t, config(socket), variables(command)...).wantError(t, "1.0.0", code); !strings.Contains(e.Msg, socket) {
					t.Errorf("%s: %+v", command, e)
				}
			}
		})
	}
}

func TestAnAgentThatHangsIsGivenUp(t *testing.T) {
	for name, says := range map[string]string{"before its answer": "", "in its answer": frame(`{"result":{}}`)[:9]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for verb, code := range map[string]uint{"ADD": 11, "CHECK": 11, "STATUS": 50, "GC": 11} {
				o := runPlugin(t, config(strangeAgent(t, says, true)), variables(verb)...)
				if e := o.wantError(t, "1.0.0", code); !strings.Contains(e.Msg, "hangs: no sign of life within 1.5s of "+verb) {
					t.Errorf("%+v", e)
				}
				if o.took > slow.Bound(3*time.Second) {
					t.Errorf("%s took %v", verb, o.took)
				}
			}
		})
	}
}

// TestAnAgentThatIsAtWorkIsWaitedFor longer than one that gives no sign of life.
func TestAnAgentThatIsAtWorkIsWaitedFor(t *testing.T) {
	socket := agent(t, func(ctx context.Context, r *wire.Request) (any, error) {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wire.ReceiptWithin + 500*time.Millisecond):
			return r.Command, nil
		}
	})
	if o := runPlugin(t, config(socket), variables("ADD")...); o.status != 0 || o.stdout != "\"ADD\"\n" {
		t.Errorf("%+v", o)
	}
}

// TestAnAgentThatStopsAfterItsReceipt is given up when the verb's time is over.
func TestAnAgentThatStopsAfterItsReceipt(t *testing.T) {
	socket := strangeAgent(t, frame(`{"received":true}`), true)
	_, err := ask(socket, &wire.Request{Command: "ADD", TimeoutMS: 100}, wire.ReceiptWithin)
	if err == nil || !strings.Contains(err.Error(), "is at work on ADD and has not ended it in 2.") {
		t.Errorf("error is %v", err)
	}
}

func TestAnAgentThatAcceptsNobodyIsGivenUp(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cni.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// It connects and sends; nobody reads.
	_, err = ask(socket, &wire.Request{Command: "ADD", Args: strings.Repeat("a", 900<<10)}, 300*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "hangs: it has not read ADD within 300ms") {
		t.Errorf("error is %v", err)
	}
}

func TestLargeResultsArrive(t *testing.T) {
	large := strings.Repeat("a", 900<<10)
	socket := agent(t, func(_ context.Context, r *wire.Request) (any, error) { return r.Config, nil })
	in := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"pods","socket":%q,"prevResult":%q}`, socket, large)
	if o := runPlugin(t, in, variables("ADD")...); o.status != 0 || o.stdout != in+"\n" {
		t.Errorf("exit status %d, %d bytes of %d, %.200s", o.status, len(o.stdout), len(in), o.stderr)
	}
}

func TestWhatTheRuntimeSaidWronglyIsToldWithoutTheAgent(t *testing.T) {
	without := func(name string) []string {
		return slices.DeleteFunc(variables("ADD"), func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	good := config("/nonexistent/cni.sock")
	for name, c := range map[string]struct {
		stdin      string
		env        []string
		cniVersion string
		code       uint
		msg        string
	}{
		"no container":         {good, without("CNI_CONTAINERID"), "1.0.0", 4, "CNI_CONTAINERID: expected a value, found nothing (ADD needs it)"},
		"no namespace":         {good, without("CNI_NETNS"), "1.0.0", 4, "CNI_NETNS: expected a value, found nothing (ADD needs it)"},
		"no interface":         {good, without("CNI_IFNAME"), "1.0.0", 4, "CNI_IFNAME: expected a value, found nothing (ADD needs it)"},
		"nothing but a verb":   {good, []string{"CNI_COMMAND=DEL"}, "1.0.0", 4, "CNI_CONTAINERID, CNI_IFNAME: expected a value, found nothing (DEL needs it)"},
		"no verb of CNI's":     {good, variables("UPDATE"), "1.0.0", 4, `CNI_COMMAND: expected ADD, DEL, CHECK, STATUS, GC or VERSION, found "UPDATE"`},
		"no configuration":     {"", variables("ADD"), "1.1.0", 6, "network configuration: not valid JSON at line 1, column 1: unexpected end of JSON input"},
		"malformed JSON":       {"{\n\"a\": b}", variables("DEL"), "1.1.0", 6, "network configuration: not valid JSON at line 2, column 6: invalid character 'b' looking for beginning of value"},
		"a DEL without name":   {`{"cniVersion": "1.0.0", "socket": "/nonexistent/cni.sock"}`, variables("DEL"), "1.0.0", 7, "name: expected the network's name, found nothing"},
		"a huge input":         {strings.Repeat(" ", wire.MaxMessage), variables("ADD"), "1.1.0", 7, "network configuration: expected at most 983040 bytes, found more"},
		"a strange version":    {`{"cniVersion": 5, "socket": "/nonexistent/cni.sock"}`, variables("ADD"), "1.1.0", 11, "cannot reach the Sluice agent at /nonexistent/cni.sock: no such file or directory"},
		"a version to come":    {`{"cniVersion": "9.0.0", "socket": "/nonexistent/cni.sock"}`, variables("ADD"), "9.0.0", 11, "cannot reach the Sluice agent at /nonexistent/cni.sock: no such file or directory"},
		"no object but a list": {`[]`, variables("STATUS"), "1.1.0", 50, "cannot reach the Sluice agent at /run/sluice/cni.sock: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			if e := runPlugin(t, c.stdin, c.env...).wantError(t, c.cniVersion, c.code); e.Msg != c.msg {
				t.Errorf("message is\n%s, want\n%s", e.Msg, c.msg)
			}
		})
	}
}

func TestVERSIONNeedsNoAgent(t *testing.T) {
	for stdin, cniVersion := range map[string]string{`{"cniVersion": "0.4.0"}`: "0.4.0", "": "1.1.0", "{": "1.1.0"} {
		want := fmt.Sprintf(`{"cniVersion":%q,"supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}`, cniVersion) + "\n"
		if o := runPlugin(t, stdin, "CNI_COMMAND=VERSION"); o.status != 0 || o.stdout != want || o.stderr != "" {
			t.Errorf("%q: %+v", stdin, o)
		}
	}
}

func TestRunByHandItSaysWhatItIs(t *testing.T) {
	o := runPlugin(t, "")
	if o.status != 0 || o.stdout != "" || !strings.Contains(o.stderr, "Sluice CNI plugin v0.0.1-test") || !strings.Contains(o.stderr, "1.1.0") {
		t.Errorf("%+v", o)
	}
}

func TestNothingIsImportedThatCostsStartUpTime(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		for _, dear := range []string{"net", "log", "flag", "context", "os/exec", "regexp", "text/template", "github.com/", "golang.org/x/"} {
			ours := strings.HasPrefix(pkg, "github.com/sluice-cni/sluice/cni/wire") || pkg == "github.com/sluice-cni/sluice/cmd/sluice-cni"
			if !ours && (pkg == dear || strings.HasPrefix(pkg, dear+"/") || strings.HasSuffix(dear, "/") && strings.HasPrefix(pkg, dear)) {
				t.Errorf("%s is imported; go list -deps -f '{{.ImportPath}}: {{.Imports}}' tells by whom", pkg)
			}
		}
	}
}
