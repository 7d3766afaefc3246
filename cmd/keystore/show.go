package main

import (
	"context"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

func (a *app) get() *cobra.Command {
	return a.onKey("get ID", "Show a key", "Shows a key, by its id.",
		"  keystore get 0000000000000000 --json",
		func(ctx context.Context, ks *keystore.Keystore, id string) (keystore.Key, error) {
			return ks.Get(ctx, id)
		})
}

// onKey makes a command that does one thing to one key and shows it.
func (a *app) onKey(use, short, long, example string, do func(context.Context, *keystore.Keystore, string) (keystore.Key, error)) *cobra.Command {
	return a.command(use, short, long, example, oneArgument("the id of a key"), func(cmd *cobra.Command, args []string) error {
		return a.showResult(cmd, func(ctx context.Context, ks *keystore.Keystore) (keystore.Key, error) {
			return do(ctx, ks, args[0])
		})
	})
}

// showResult does something to a key and shows what it has become.
func (a *app) showResult(cmd *cobra.Command, do func(context.Context, *keystore.Keystore) (keystore.Key, error)) error {
	return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
		key, err := do(ctx, ks)
		if err != nil {
			return err
		}
		return a.printKey(key)
	})
}
