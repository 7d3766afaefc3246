// Command keystore manages the API keys of a store from a shell. docs/cli.md
// describes its commands, output and exit codes.
package main

import (
	"context"
	"fmt"
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
	if closed(os.Stdout) {
		fmt.Fprintln(os.Stderr, "keystore: standard output is closed")
		os.Exit(int(statusFailed))
	}
	os.Exit(run(ctx, os.Args[1:], system{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}))
}
