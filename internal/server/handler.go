package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"example.com/keystore/adminapi"
	"example.com/keystore/httpauth"
)

// mainHandler serves what carries tokens, and the rest unless that has a listener
// of its own. There is no mux: it would clean the paths that clients of proxies
// send, and answer with redirections that repeat them.
func (s *server) mainHandler() (http.Handler, error) {
	admin, err := adminapi.New(s.ks, &adminapi.Options{Auth: s.auth, BasePath: apiPath, Logger: s.log})
	if err != nil {
		return nil, err
	}
	admin = http.StripPrefix(apiPath, admin)
	verify := Verify(s.auth)
	rest := http.HandlerFunc(notFound)
	if s.config.OpsListen == "" {
		rest = s.ops()
	}
	routes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case isVerify(r):
			verify.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.EscapedPath(), apiPath+"/"):
			admin.ServeHTTP(w, r)
		default:
			rest.ServeHTTP(w, r)
		}
	})
	return boundStreams(s.config.MaxConnections, s.log, s.wrap(routes)), nil
}

func (s *server) opsHandler() http.Handler { return s.wrap(s.ops()) }

// ops serves what is for those who run the server.
func (s *server) ops() http.HandlerFunc {
	routes := map[string]http.Handler{
		"/healthz": http.HandlerFunc(healthz),
		"/readyz":  s.ready,
		"/metrics": s.metrics.handler(),
	}
	return func(w http.ResponseWriter, r *http.Request) {
		h, found := routes[r.URL.EscapedPath()]
		switch {
		case !found:
			notFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed)
		default:
			h.ServeHTTP(w, r)
		}
	}
}

func notFound(w http.ResponseWriter, _ *http.Request) { problem(w, http.StatusNotFound) }

// problem answers with problem details (RFC 9457), which repeat nothing of the
// request.
func problem(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
	}{"about:blank", http.StatusText(status), status, codes[status]})
}

// codes are those that the other packages have for the same.
var codes = map[int]string{
	http.StatusNotFound:           "not_found",
	http.StatusMethodNotAllowed:   "method_not_allowed",
	http.StatusServiceUnavailable: httpauth.CodeUnavailable,
}
