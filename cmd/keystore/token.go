package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// maxTokenRead is far more than a token has. Of a longer text the rest is not
// read: it is malformed anyway.
const maxTokenRead = 512

// readToken reads a token from a file, or else from standard input: a terminal
// is asked for it and does not show it.
func (a *app) readToken(ctx context.Context, file string) (string, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fileError("--token-file", err)
		}
		defer f.Close()
		return readTokenFrom(ctx, "--token-file", f)
	}
	if f, ok := a.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return a.promptForToken(ctx, int(f.Fd()))
	}
	return readTokenFrom(ctx, "standard input", a.in)
}

func readTokenFrom(ctx context.Context, what string, r io.Reader) (string, error) {
	return await(ctx, what, func() (string, error) {
		text, err := io.ReadAll(io.LimitReader(r, maxTokenRead))
		return cutNewline(string(text)), err
	})
}

func (a *app) promptForToken(ctx context.Context, terminal int) (string, error) {
	shown, err := term.GetState(terminal)
	if err != nil {
		return "", fileError("terminal", err)
	}
	fmt.Fprint(a.err, "Token (not shown): ")
	defer fmt.Fprintln(a.err)
	text, err := await(ctx, "terminal", func() (string, error) {
		line, err := term.ReadPassword(terminal)
		return string(line), err
	})
	if ctx.Err() != nil { // the read goes on, and so it has not put the terminal back
		_ = term.Restore(terminal, shown)
	}
	return text, err
}

// await reads until ctx ends: whoever presses Ctrl-C instead of typing must not
// have to type.
func await(ctx context.Context, what string, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		if ctx.Err() != nil { // both at once
			break
		}
		if r.err != nil {
			return "", fileError(what, r.err)
		}
		return r.text, nil
	case <-ctx.Done():
	}
	return "", fmt.Errorf("%s: nothing was read: %w", what, ctx.Err())
}
