package socket

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// grace is how long calls under way may go on when the server ends. Tests, on a
// machine that may stand still for a while, give them more.
var grace = 5 * time.Second

// endingKey is that of a context which ends when the server is to end.
type endingKey struct{}

// Serve answers clients that l accepts until ctx ends: then l is closed, streams
// end at once, and calls under way have [grace]. It returns nil when the end was
// asked for. log gets panics of the store and the like; nil: discard.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	base := context.WithValue(context.WithoutCancel(ctx), endingKey{}, ctx)
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.With("package", "socket").Handler(), slog.LevelError),
	}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(base, grace)
		defer cancel()
		err := server.Shutdown(limit)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		ended <- err
	})
	err := server.Serve(l)
	if stop() { // it failed on its own
		return errors.Join(err, server.Close())
	}
	return <-ended
}
