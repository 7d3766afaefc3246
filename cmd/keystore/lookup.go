package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// lookupView is a good token as --json prints it.
type lookupView struct {
	Key        keyView `json:"key"`
	Generation int     `json:"generation"` // of the secret that was presented
}

func (a *app) lookup() *cobra.Command {
	var scopes []string
	var tokenFile string
	cmd := a.command("lookup", "Ask whether a token may be used, and for what",
		`Reads a token from standard input or a file, and shows its key if it is good and
covers every --scope. It does not count as a use of the key.

A refusal says the exact reason; your program should not tell its callers.`,
		`  keystore lookup --scope orders:read <token
  keystore lookup --token-file token --json`,
		noArguments, func(cmd *cobra.Command, _ []string) error {
			if err := notEmpty(cmd, "token-file"); err != nil {
				return err
			}
			// Before the store is opened, which nobody else may use then.
			token, err := a.readToken(cmd.Context(), tokenFile)
			if err != nil {
				return err
			}
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				found, err := ks.LookupWith(ctx, token, keystore.LookupParams{Scopes: scopes})
				if err != nil {
					return err
				}
				view := lookupView{keyview.Of(found.Key, time.Now()), found.Generation}
				return a.print(view, append(keyFields(view.Key), field{"token_generation", strconv.Itoa(view.Generation)}))
			})
		})
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "`scope` that the token must cover (repeatable)")
	addTokenFile(cmd, &tokenFile, "read the token from this `file`")
	return cmd
}
