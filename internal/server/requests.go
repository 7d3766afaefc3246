package server

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"time"

	"example.com/keystore"
	"example.com/keystore/httpauth"
)

// wrap puts around a handler what every request needs: bounds, a line in the log,
// and an answer where the handler panics.
func (s *server) wrap(next http.Handler) http.Handler {
	level := slog.LevelDebug
	if s.config.LogRequests {
		level = slog.LevelInfo
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := &recorder{ResponseWriter: w}
		r.Body = http.MaxBytesReader(answer, r.Body, maxBody)
		defer func() {
			if value := recover(); value != nil {
				s.panicked(answer, value)
			}
			took, route, method := time.Since(began), routeOf(r), methodOf(r)
			s.metrics.answered(route, method, answer.code(), took)
			if s.log.Enabled(r.Context(), level) {
				s.log.LogAttrs(r.Context(), level, "request", // neither path nor query: both may hold a token
					slog.String("route", route), slog.String("method", method), slog.Int("status", answer.code()),
					slog.Duration("took", took), slog.String("client", s.auth.ClientAddr(r).String()))
			}
		}()
		if id, ok := httpauth.RequestID(r); ok { // for the audit
			r = r.WithContext(keystore.WithRequestID(r.Context(), id))
		}
		next.ServeHTTP(answer, r)
	})
}

// panicked logs a panic of a handler and answers 503: nothing is known of the key.
func (s *server) panicked(answer *recorder, value any) {
	if value == http.ErrAbortHandler {
		panic(value)
	}
	s.log.Error("a handler panicked", "value", fmt.Sprint(value), "stack", string(debug.Stack()))
	if answer.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	h := answer.Header()
	maps.DeleteFunc(h, func(name string, _ []string) bool { return name != "X-Request-Id" })
	h.Set("Retry-After", "5")
	problem(answer, http.StatusServiceUnavailable)
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int // 0: none yet
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK // what net/http sends for a handler that says nothing
	}
	return r.status
}
