package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress is a line on a terminal that counts. Elsewhere it is nothing.
type progress struct {
	out          io.Writer // nil: nowhere
	what         string
	began, drawn time.Time
	width        int
}

// progress begins one on standard error, next to which scripts read the result.
func (a *app) progress(what string) *progress {
	p := &progress{what: what, began: time.Now()}
	if isTerminal(a.err) && !a.global.json {
		p.out = a.err
	}
	return p
}

// show draws the line, at most ten times a second.
func (p *progress) show(n int64) {
	now := time.Now()
	if p.out == nil || now.Sub(p.drawn) < 100*time.Millisecond {
		return
	}
	text := fmt.Sprintf("%s %d keys, %.0f a second", p.what, n, float64(n)/now.Sub(p.began).Seconds())
	fmt.Fprintf(p.out, "\r%-*s", p.width, text)
	p.drawn, p.width = now, max(p.width, len(text))
}

// end removes the line.
func (p *progress) end() {
	if p.width > 0 {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.width))
	}
}
