package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

func (a *app) purge() *cobra.Command {
	return a.command("purge", "Delete the keys whose retention has passed",
		`Deletes the keys that were revoked or expired longer than their retention ago, and
says how many. The retention was fixed when the key was last written: see --retention.
Counts of windows that have ended, and usage past its retention, go with them.`,
		"  keystore purge", noArguments, func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				n, err := ks.Purge(ctx)
				return a.printDone("purged", n, err)
			})
		})
}

func (a *app) digests() *cobra.Command {
	return a.command("digests", "Count the secrets that may still be presented",
		`Counts the secrets that may still be presented, by scheme and key id. A pepper with
none, in a store where no program uses it any more, can be retired.`,
		"  keystore digests", noArguments, func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				counts, err := ks.CountDigests(ctx)
				if err != nil && !errors.Is(err, keystore.ErrCorrupt) {
					return err
				}
				damaged := a.reportDamage(err)
				var fields []field
				for _, name := range slices.Sorted(maps.Keys(counts)) {
					fields = append(fields, field{shown(name), strconv.Itoa(counts[name])})
				}
				return errors.Join(a.print(counts, fields), damageError(damaged))
			})
		})
}
