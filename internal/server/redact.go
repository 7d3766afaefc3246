package server

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"regexp"

	"golang.org/x/time/rate"
)

// tokenForm is a token with any prefix: see docs/format.md. What is longer is hidden
// too.
var tokenForm = regexp.MustCompile(`[a-z0-9]_[0-9A-Za-z]{54,}`)

const maxLogged = 1024 // bytes of a text that this program did not write

// redact is the beginning of a text for the log, without tokens.
func redact(text string) string {
	text = tokenForm.ReplaceAllString(text, "[token]")
	if len(text) > maxLogged {
		text = text[:maxLogged] + "…"
	}
	return text
}

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
		b.to.Log(context.Background(), slog.LevelWarn, redact(string(bytes.TrimSpace(line))))
	}
	return len(line), nil
}
