package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

type underWayKey struct{}

// connContext is for http.Server.ConnContext: it counts the requests of a
// connection that are under way.
func connContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, underWayKey{}, new(atomic.Int32))
}

// boundStreams bounds how many requests of HTTP/2 are under way: a connection can
// have many, and hold them, and the memory of each, by not reading the answers. One
// request of each connection is always served; those beside it share a pool of limit
// for all connections, and are reset where that is empty. An answer would have to
// wait for the client as well.
func boundStreams(limit int, log *slog.Logger, next http.Handler) http.Handler {
	pool := make(chan struct{}, limit)
	told := rate.Sometimes{Interval: time.Minute}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 { // one after the other
			next.ServeHTTP(w, r)
			return
		}
		underWay := r.Context().Value(underWayKey{}).(*atomic.Int32)
		defer underWay.Add(-1)
		if underWay.Add(1) > 1 {
			select {
			case pool <- struct{}{}:
				defer func() { <-pool }()
			default:
				told.Do(func() { log.Warn("too many requests of HTTP/2 are under way, some are reset", "limit", limit) })
				panic(http.ErrAbortHandler)
			}
		}
		next.ServeHTTP(w, r)
		w.(http.Flusher).Flush() // here, not after the return, it waits for a client that does not read
	})
}
