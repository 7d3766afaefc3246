package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

func (a *app) revoke() *cobra.Command {
	var owner, reason string
	cmd := a.command("revoke (ID | --owner OWNER)", "End a key for ever, or all keys of an owner",
		`Ends a key for ever, or all keys of an owner. Its record stays until purge: the
first time and reason stay too.`,
		`  keystore revoke 0000000000000000 --reason 'seen in a log'
  keystore revoke --owner mallory --reason 'account closed'`,
		anyArguments, func(cmd *cobra.Command, args []string) error {
			all := cmd.Flags().Changed("owner")
			if all == (len(args) == 1) || len(args) > 1 {
				return usagef("%s takes the id of a key, or else --owner", cmd.CommandPath())
			}
			if err := notEmpty(cmd, "owner"); err != nil {
				return err
			}
			if !all {
				return a.showResult(cmd, func(ctx context.Context, ks *keystore.Keystore) (keystore.Key, error) {
					return ks.Revoke(ctx, args[0], reason)
				})
			}
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				n, err := ks.RevokeAll(ctx, owner, reason)
				return a.printDone("revoked", n, err)
			})
		})
	cmd.Flags().StringVar(&owner, "owner", "", "revoke all keys of this `owner`")
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, kept with the key")
	return cmd
}

// anyArguments leaves the arguments to the command itself.
func anyArguments(*cobra.Command, []string) error { return nil }

// printDone writes how many keys a command changed, also where it then failed.
func (a *app) printDone(name string, n int, err error) error {
	if err != nil && n == 0 {
		return err
	}
	return errors.Join(err, a.printCount(name, int64(n)))
}

func (a *app) delete() *cobra.Command {
	return a.command("delete ID", "Remove a key and every trace of it but its usage",
		"Removes a key and every trace of it but its usage. After an incident, revoke\ninstead: it leaves a record that says so.",
		"  keystore delete 0000000000000000",
		oneArgument("the id of a key"), func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				if err := ks.Delete(ctx, args[0]); err != nil {
					return err
				}
				return a.print(map[string]string{"deleted": args[0]}, []field{{"deleted", args[0]}})
			})
		})
}
