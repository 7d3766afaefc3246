package server

import (
	"net/http"
)

// mainHandler serves what carries tokens, and the rest unless that has a listener
// of its own.
func (s *server) mainHandler() http.Handler {
	mux := http.NewServeMux()
	if s.config.OpsListen == "" {
		s.addOps(mux)
	}
	verify := Verify(s.auth)
	return s.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isVerify(r) {
			verify.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

func (s *server) opsHandler() http.Handler {
	mux := http.NewServeMux()
	s.addOps(mux)
	return s.wrap(mux)
}

func (s *server) addOps(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", healthz)
	mux.Handle("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics.handler())
}
