package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/kube"
)

// apiServer has one Node and nothing else, and tells of no change.
func apiServer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	kind, items := "PodList", ""
	switch {
	case r.URL.Query().Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity) // as servers that do not know it
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
		return
	case r.URL.Query().Get("watch") != "":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	case strings.Contains(r.URL.Path, "selfsubjectaccessreviews"):
		fmt.Fprint(w, `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{},"status":{"allowed":true}}`)
		return
	case strings.HasSuffix(r.URL.Path, "/nodes"):
		kind, items = "NodeList", `{"metadata":{"name":"n1","uid":"u1","resourceVersion":"5"}}`
	case strings.HasSuffix(r.URL.Path, "/namespaces"):
		kind = "NamespaceList"
	}
	fmt.Fprintf(w, `{"kind":%q,"apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[%s]}`, kind, items)
}

// serve answers at the address until stop is called, which cuts all connections.
func serve(t *testing.T, address string) (at string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(apiServer))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	return l.Addr().String(), func() { s.CloseClientConnections(); s.Close() }
}

// TestAnAPIServerThatIsAwayIsNamed, and the last known state stays: a watch that is refused
// tells nobody by itself.
func TestAnAPIServerThatIsAwayIsNamed(t *testing.T) {
	at, stop := serve(t, "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: \"http://" + at + "\"}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kube.Dial(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	good := until(t, c, "it is read", func(s source.Snapshot) bool { return s.Synced && len(s.Errors) == 0 })
	if len(good.Objects.Nodes) != 1 {
		t.Fatalf("nodes %v", good.Objects.Nodes)
	}
	stop()
	away := until(t, c, "it is away", func(s source.Snapshot) bool { return len(s.Errors) > 0 })
	if !strings.Contains(strings.Join(away.Errors, "\n"), "the API server does not answer") || !away.Synced || len(away.Objects.Nodes) != 1 {
		t.Errorf("away: %+v", away)
	}
	_, stop = serve(t, at)
	until(t, c, "it is back", func(s source.Snapshot) bool { return len(s.Errors) == 0 && len(s.Objects.Nodes) == 1 })
	cancel()
	stop()
}
