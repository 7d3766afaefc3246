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

	Limits []keyview.LimitState `json:"limits"` // how they stand after it
}

func (a *app) lookup() *cobra.Command {
	var (
		p         keystore.LookupParams
		peek      bool
		tokenFile string
	)
	cmd := a.command("lookup", "Ask whether a token may be used, and for what",
		`Reads a token from standard input or a file, and shows its key if it is good and
covers every --scope. It spends of the key's limits, as a request would, unless
--peek is given; it does not count as a use of the key otherwise.

A refusal says the exact reason; your program should not tell its callers.`,
		`  keystore lookup --scope orders:read <token
  keystore lookup --token-file token --peek --json`,
		noArguments, func(cmd *cobra.Command, _ []string) error {
			if err := notEmpty(cmd, "token-file"); err != nil {
				return err
			}
			if err := switches(cmd, "peek"); err != nil {
				return err
			}
			// Before the store is opened, which nobody else may use then.
			token, err := a.readToken(cmd.Context(), tokenFile)
			if err != nil {
				return err
			}
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				look := ks.LookupWith
				if peek {
					look = ks.Peek
				}
				found, err := look(ctx, token, p)
				if err != nil {
					return err
				}
				view := lookupView{keyview.Of(found.Key, time.Now()), found.Generation, keyview.States(found.Limits)}
				fields := append(keyFields(view.Key), field{"token_generation", strconv.Itoa(view.Generation)})
				return a.print(view, append(fields, stateFields(found.Limits)...))
			})
		})
	flags := cmd.Flags()
	flags.StringArrayVar(&p.Scopes, "scope", nil, "`scope` that the token must cover (repeatable)")
	flags.Var(parsedFlag[int64]{&p.Cost, "number", parseCost}, "cost", "`number` that it takes from each limit of the key; default 1")
	flags.BoolVar(&peek, "peek", false, "spend nothing")
	addTokenFile(cmd, &tokenFile, "read the token from this `file`")
	return cmd
}
