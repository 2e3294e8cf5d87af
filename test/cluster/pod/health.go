package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// newHealth answers with the pod's name. What kubelet asks, /ready and /alive, it answers
// otherwise once it was told to, by /ready/off and /alive/off.
func newHealth(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	for _, what := range []string{"/ready", "/alive"} {
		off := new(atomic.Bool)
		mux.HandleFunc(what, func(w http.ResponseWriter, _ *http.Request) {
			if off.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		mux.HandleFunc(what+"/off", func(http.ResponseWriter, *http.Request) { off.Store(true) })
		mux.HandleFunc(what+"/on", func(http.ResponseWriter, *http.Request) { off.Store(false) })
	}
	return mux
}
