// Command keystore manages the API keys of a store from a shell. docs/cli.md
// describes its commands, output and exit codes.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A reader that goes away, as head does, is an error like any other: dying
	// of the signal could lose a token that was just made.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], system{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}))
}
