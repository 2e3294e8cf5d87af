package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/sluice-cni/sluice/agent/hazard"
	"github.com/sluice-cni/sluice/agent/invariant"
	"github.com/sluice-cni/sluice/flows/state"
)

// Flow is a flow as GET /flows tells it.
type Flow struct {
	Table    int    `json:"table"`
	Priority int    `json:"priority"`
	Text     string `json:"text"`
	Packets  uint64 `json:"packets"`
	Bytes    uint64 `json:"bytes"`
	// Cookie is flows.Cookie in hexadecimal: 0x and digits.
	Cookie string `json:"cookie"`
	// Owner is the object that the flow serves, Rule what it does for it.
	Owner string `json:"owner"`
	Rule  string `json:"rule"`
	// Drops tells that the flow drops what matches.
	Drops bool `json:"drops,omitempty"`
}

// Agent is what the server asks.
type Agent interface {
	Status() Status
	// State is the input of the render that is in force.
	State() state.State
	// Flows dumps the switch's flows, in their stable order.
	Flows(ctx context.Context) ([]Flow, error)
	// Groups are the packets that each bucket has got, by group and bucket.
	Groups(ctx context.Context) (map[uint32]map[uint32]uint64, error)
	// Pods are the attachments, in a stable order.
	Pods() []PodStatus
	// Metrics writes metrics in Prometheus' text format.
	Metrics(w io.Writer) error
	// Check returns what is inconsistent on this node.
	Check(ctx context.Context) ([]invariant.Broken, error)
	// Hazards are what hurts on this machine and is not ours to change.
	Hazards(ctx context.Context) []hazard.Hazard
}

// Serve answers on the listener until ctx ends.
//
//	GET /status   Status
//	GET /state    state.State
//	GET /flows    []Flow
//	GET /groups   {"GROUP":{"BUCKET":PACKETS}}
//	GET /pods     []PodStatus
//	GET /metrics  Prometheus' text format
//	GET /check    []invariant.Broken
//	GET /hazards  []hazard.Hazard
//	GET /healthz  200 when ready, 503 with the problems when not
//	GET /debug/pprof/
func Serve(ctx context.Context, l net.Listener, a Agent) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { reply(w, a.Status(), nil) })
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { reply(w, a.State(), nil) })
	mux.HandleFunc("GET /flows", func(w http.ResponseWriter, r *http.Request) {
		list, err := a.Flows(r.Context())
		reply(w, list, err)
	})
	mux.HandleFunc("GET /groups", func(w http.ResponseWriter, r *http.Request) {
		list, err := a.Groups(r.Context())
		reply(w, list, err)
	})
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, _ *http.Request) { reply(w, a.Pods(), nil) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_ = a.Metrics(w) // the client has hung up: nobody to tell
	})
	mux.HandleFunc("GET /check", func(w http.ResponseWriter, r *http.Request) {
		broken, err := a.Check(r.Context())
		reply(w, broken, err)
	})
	mux.HandleFunc("GET /hazards", func(w http.ResponseWriter, r *http.Request) { reply(w, a.Hazards(r.Context()), nil) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if s := a.Status(); !s.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
			reply(w, s.Problems, nil)
		}
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has hung up: nobody to tell
}
