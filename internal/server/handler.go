package server

import (
	"net/http"
	"strings"

	"example.com/keystore/adminapi"
)

// mainHandler serves what carries tokens, and the rest unless that has a listener
// of its own. The mux is only asked for what is fixed: it would clean the paths of
// others, or redirect.
func (s *server) mainHandler() (http.Handler, error) {
	admin, err := adminapi.New(s.ks, &adminapi.Options{Auth: s.auth, BasePath: apiPath, Logger: s.log})
	if err != nil {
		return nil, err
	}
	admin = http.StripPrefix(apiPath, admin)
	verify := Verify(s.auth)
	mux := http.NewServeMux()
	if s.config.OpsListen == "" {
		s.addOps(mux)
	}
	return s.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case isVerify(r):
			verify.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, apiPath+"/"):
			admin.ServeHTTP(w, r)
		default:
			mux.ServeHTTP(w, r)
		}
	})), nil
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
