package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

// rotation is what rotate was asked for.
type rotation struct {
	id         string
	grace      time.Duration
	expiresAt  time.Time
	ttl        time.Duration
	ifRevision uint64 // 0: whatever it is
}

func (a *app) rotate() *cobra.Command {
	var r rotation
	var tokenFile string
	cmd := a.command("rotate ID --grace DURATION", "Give a key a new secret, and show its token, this once",
		`Gives a key a new secret and shows its token, this once. The old one works for the
grace period more; with --grace 0 it ends at once.

Give the --prefix of your program, or --accept-prefix: a key with another one is
refused, since your program may not accept the token that it would get.`,
		`  keystore rotate 0000000000000000 --grace 24h
  keystore rotate 0000000000000000 --grace 0 --token-file new-token`,
		oneArgument("the id of a key"), func(cmd *cobra.Command, args []string) error {
			if err := only(cmd, "ttl", "expires-at"); err != nil {
				return err
			}
			if err := notEmpty(cmd, "token-file"); err != nil {
				return err
			}
			r.id = args[0]
			if r.ttl > 0 {
				r.expiresAt = time.Now().Add(r.ttl)
			}
			prefix, err := a.prefix()
			if err != nil {
				return err
			}
			accepted := append(a.acceptedPrefixes(), prefix)
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				return a.issue(tokenFile, func() (keystore.Token, keystore.Key, error) { return r.run(ctx, ks, accepted) })
			})
		})
	flags := cmd.Flags()
	flags.Var(parsedFlag[time.Duration]{&r.grace, "duration", parseDuration}, "grace", "`duration` for which the old token works on")
	flags.Var(parsedFlag[time.Duration]{&r.ttl, "duration", parsePositive}, "ttl", "`duration` until the key expires, from now on")
	flags.Var(parsedFlag[time.Time]{&r.expiresAt, "time", parseTime}, "expires-at", "`time` at which the key expires, from now on")
	flags.Var(parsedFlag[uint64]{&r.ifRevision, "number", parseRevision}, "if-revision", "only if the key has this revision `number`")
	addTokenFile(cmd, &tokenFile, "write the token to a new `file` of mode 0600 instead")
	required(cmd, "grace")
	return cmd
}

// parseRevision refuses 0, which would stand for any revision.
func parseRevision(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, problem("a revision is a number from 1 on")
	}
	return n, nil
}

// rotateTries is how often a rotation that lost against another writer is tried.
const rotateTries = 16

// run rotates the key at the revision at which its prefix was seen to be one of
// those: keystore itself would give it another prefix, if it had to.
func (r rotation) run(ctx context.Context, ks *keystore.Keystore, accepted []string) (keystore.Token, keystore.Key, error) {
	for try := 1; ; try++ {
		key, err := ks.Get(ctx, r.id)
		if err != nil {
			return keystore.Token{}, keystore.Key{}, err
		}
		if !slices.Contains(accepted, key.Prefix) {
			return keystore.Token{}, keystore.Key{}, usagef("key %s has the prefix %s, which this tool was not told of: "+
				"give the settings of your program, such as --prefix %s or --accept-prefix %s", key.ID, shown(key.Prefix), shown(key.Prefix), shown(key.Prefix))
		}
		p := &keystore.RotateParams{ExpiresAt: r.expiresAt, IfRevision: key.Revision()}
		if r.ifRevision != 0 {
			p.IfRevision = r.ifRevision
		}
		token, key, err := ks.Rotate(ctx, r.id, r.grace, p)
		if !errors.Is(err, keystore.ErrConflict) || r.ifRevision != 0 || try == rotateTries {
			return token, key, err
		}
	}
}

func (a *app) endGrace() *cobra.Command {
	return a.onKey("end-grace ID", "End the grace period of a key's older secrets", "Ends the grace period of every older secret: only the current one works from now on.",
		"  keystore end-grace 0000000000000000",
		func(ctx context.Context, ks *keystore.Keystore, id string) (keystore.Key, error) {
			return ks.EndGrace(ctx, id)
		})
}
