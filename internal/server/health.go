package server

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore"
)

const (
	pingTimeout = time.Second // of the store
	pingKept    = time.Second // so that probes cannot load the store
)

// healthz says that the process serves.
func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok\n"))
}

// readiness answers /readyz: whether requests should be sent here.
type readiness struct {
	ks     *keystore.Keystore
	ending atomic.Bool

	mutex sync.Mutex // held during a ping: all who ask meanwhile get its answer
	asked time.Time
	err   error
}

func newReadiness(ks *keystore.Keystore) *readiness { return &readiness{ks: ks} }

func (r *readiness) shutDown() { r.ending.Store(true) }

// ping asks the store, unless it was asked a moment ago.
func (r *readiness) ping() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.asked.IsZero() || time.Since(r.asked) >= pingKept {
		ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
		defer cancel()
		r.err = r.ks.Ping(ctx)
		r.asked = time.Now()
	}
	return r.err
}

// readyView is the body of /readyz.
type readyView struct {
	Status string              `json:"status"` // ready, unavailable, ending
	Store  string              `json:"store"`  // ok, unavailable, unknown
	Watch  keystore.WatchState `json:"watch"`  // whatever it is, the bound on staleness holds
}

func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	view := readyView{Status: "ready", Store: "ok", Watch: r.ks.Stats().Watch}
	status := http.StatusOK
	switch {
	case r.ending.Load():
		view.Status, view.Store, status = "ending", "unknown", http.StatusServiceUnavailable
	case r.ping() != nil:
		view.Status, view.Store, status = "unavailable", "unavailable", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if status != http.StatusOK {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(view)
}
