package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
)

// newLogger is FerretDB's log, in which it shows each answer that is an error.
func newLogger(w io.Writer) *slog.Logger {
	return slog.New(quieter{slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})})
}

// quieter leaves out what every test would show: the header of a message beside the
// message, and that FerretDB 1.24 does not know the farewell of a driver.
type quieter struct{ slog.Handler }

func (q quieter) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "Response header: ") || strings.Contains(r.Message, "no such command: 'endSessions'") {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }
