package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

func (a *app) expire() *cobra.Command {
	var (
		at         time.Time
		in         time.Duration
		now, never bool
	)
	cmd := a.command("expire ID (--at TIME | --in DURATION | --now | --never)", "Set, move or clear the expiry of a key",
		`Sets, moves or clears the expiry of a key. A time in the past means now. A later
time, or --never, revives a key that has expired and is not purged yet.`,
		`  keystore expire 0000000000000000 --in 90d
  keystore expire 0000000000000000 --now`,
		oneArgument("the id of a key"), func(cmd *cobra.Command, args []string) error {
			if err := exactlyOne(cmd, "at", "in", "now", "never"); err != nil {
				return err
			}
			if err := switches(cmd, "now", "never"); err != nil {
				return err
			}
			if cmd.Flags().Changed("in") {
				at = time.Now().Add(in)
			}
			if now {
				at = time.Now()
			}
			return a.showResult(cmd, func(ctx context.Context, ks *keystore.Keystore) (keystore.Key, error) {
				if never {
					return ks.ClearExpiry(ctx, args[0])
				}
				return ks.Expire(ctx, args[0], at)
			})
		})
	flags := cmd.Flags()
	flags.Var(parsedFlag[time.Time]{&at, "time", parseTime}, "at", "`time`, such as 2027-01-31T12:00:00Z")
	flags.Var(parsedFlag[time.Duration]{&in, "duration", parsePositive}, "in", "`duration` from now, such as 90d")
	flags.BoolVar(&now, "now", false, "end it at once")
	flags.BoolVar(&never, "never", false, "let it never expire")
	return cmd
}
