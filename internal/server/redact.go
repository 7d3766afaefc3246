package server

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"regexp"

	"golang.org/x/time/rate"
)

// tokenForm is a token with any prefix: see docs/format.md. What is longer is hidden
// too.
var tokenForm = regexp.MustCompile(`[a-z0-9]_[0-9A-Za-z]{54,}`)

const maxLogged = 8 << 10 // bytes of one attribute

// RedactAttr is for the ReplaceAttr of a slog.Handler: it hides tokens, wherever
// they come from, and cuts off what is too long. A store's error, or the value of
// a panic, may hold anything.
func RedactAttr(_ []string, a slog.Attr) slog.Attr {
	var text string
	switch a.Value.Kind() {
	case slog.KindString:
		text = a.Value.String()
	case slog.KindAny:
		text = fmt.Sprint(a.Value.Any())
	default:
		return a
	}
	if shown := redact(text); shown != text {
		a.Value = slog.StringValue(shown)
	}
	return a
}

func redact(text string) string {
	text = tokenForm.ReplaceAllString(text, "[token]")
	if len(text) > maxLogged {
		text = text[:maxLogged] + "…"
	}
	return text
}

// maxLine is for a line of errorLog, in bytes: net/http repeats what a client says in
// a TLS handshake.
const maxLine = 1 << 10

// errorLog is for what net/http says of connections, which anyone can make it do:
// at most 10 lines a second.
func errorLog(to *slog.Logger) *log.Logger {
	return log.New(&bridge{to: to, limit: rate.NewLimiter(10, 10)}, "", 0)
}

type bridge struct {
	to    *slog.Logger
	limit *rate.Limiter
}

func (b *bridge) Write(line []byte) (int, error) {
	if b.limit.Allow() {
		text := redact(string(bytes.TrimSpace(line)))
		if len(text) > maxLine {
			text = text[:maxLine] + "…"
		}
		b.to.Log(context.Background(), slog.LevelWarn, text)
	}
	return len(line), nil
}
