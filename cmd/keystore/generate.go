package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

// The reserved scopes, which the HTTP API asks for: to administer the store, and
// to manage the keys of the same owner.
const (
	adminScope = "keystore:admin"
	selfScope  = "keystore:self"
)

func (a *app) generate() *cobra.Command {
	var (
		p         keystore.KeyParams
		metadata  []string
		limits    []string
		admin     bool
		self      bool
		tokenFile string
	)
	cmd := a.command("generate --owner OWNER", "Make a key and show its token, this once",
		`Makes a key and shows its token, this once: the store keeps only a digest of it.
A store that does not exist is made.`,
		`  keystore generate --owner alice --scope orders:read --scope 'carts:*' --ttl 90d
  keystore generate --owner bob --plans plans.json --plan free --limit 'burst 10/1s'
  keystore generate --owner ci --token-file ci-token`,
		noArguments, func(cmd *cobra.Command, _ []string) error {
			if err := only(cmd, "ttl", "expires-at"); err != nil {
				return err
			}
			for _, name := range []string{"token-file", "plan"} {
				if err := notEmpty(cmd, name); err != nil {
					return err
				}
			}
			var err error
			if p.Metadata, err = parseMetadata(metadata); err != nil {
				return err
			}
			if p.Limits, err = parseLimits(limits); err != nil {
				return err
			}
			if p.Plan != "" {
				if err := a.checkPlan(p.Plan); err != nil {
					return err
				}
			}
			for _, reserved := range []struct {
				scope, flag string
				given       bool
			}{{adminScope, "--admin", admin}, {selfScope, "--self", self}} {
				if !reserved.given && slices.Contains(p.Scopes, reserved.scope) {
					return usagef("%s is reserved: %s grants it", reserved.scope, reserved.flag)
				}
				if reserved.given {
					p.Scopes, p.AllowReserved = append(p.Scopes, reserved.scope), true
				}
			}
			return a.withStore(cmd, mayCreate, func(ctx context.Context, ks *keystore.Keystore) error {
				return a.issue(tokenFile, func() (keystore.Token, keystore.Key, error) { return ks.Generate(ctx, p) })
			})
		})
	flags := cmd.Flags()
	flags.StringVar(&p.Owner, "owner", "", "`whom` the key is for")
	flags.StringVar(&p.Name, "name", "", "`name` of the key")
	flags.StringVar(&p.Description, "description", "", "`what` it is for")
	flags.StringArrayVar(&p.Scopes, "scope", nil, "`scope` to grant (repeatable)")
	flags.StringArrayVar(&metadata, "metadata", nil, "`KEY=VALUE` to keep with it (repeatable)")
	flags.Var(parsedFlag[time.Duration]{&p.TTL, "duration", parsePositive}, "ttl", "`duration` until it expires, such as 90d")
	flags.Var(parsedFlag[time.Time]{&p.ExpiresAt, "time", parseTime}, "expires-at", "`time` at which it expires, such as 2027-01-31T12:00:00Z")
	flags.StringVar(&p.Plan, "plan", "", "`plan` of those in the file of --plans, whose limits hold for it")
	flags.StringArrayVar(&limits, "limit", nil, "`limit` of its own, such as \"day 100/24h\": it takes the place of the plan's of that name (repeatable)")
	flags.BoolVar(&admin, "admin", false, "grant "+adminScope+", which no wildcard covers")
	flags.BoolVar(&self, "self", false, "grant "+selfScope+": to manage its owner's keys over the HTTP API")
	addTokenFile(cmd, &tokenFile, "write the token to a new `file` of mode 0600 instead")
	required(cmd, "owner")
	return cmd
}

func addTokenFile(cmd *cobra.Command, file *string, usage string) {
	cmd.Flags().StringVar(file, "token-file", "", usage)
}

func required(cmd *cobra.Command, flag string) {
	if err := cmd.MarkFlagRequired(flag); err != nil {
		panic(err) // the flag is one of this program's
	}
}

// parseMetadata reads KEY=VALUE. It returns nil for none.
func parseMetadata(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	entries := make(map[string]string, len(list))
	for _, text := range list {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return nil, usagef("--metadata is KEY=VALUE")
		}
		if _, twice := entries[key]; twice {
			return nil, usagef("--metadata: a key is given twice")
		}
		entries[key] = value
	}
	return entries, nil
}
