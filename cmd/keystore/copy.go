package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"example.com/keystore"
	"example.com/keystore/badger"
	"example.com/keystore/internal/socket"
)

// copyFlags are those of copy.
type copyFlags struct {
	after              string
	verify, verifyOnly bool
}

func (a *app) copy() *cobra.Command {
	var f copyFlags
	cmd := a.command("copy [FROM TO]", "Copy all keys to another store",
		`Copies all keys of one store to another, whatever holds them; tokens go on working.
TO may hold keys and be in use: what is newer there stays, nothing is deleted, and
no revocation is undone. Run it again to go on after an interruption, or to fetch
what has changed since. What was spent of limits, and usage, stays in FROM. See
docs/cli.md before you move a store that is in use.

Other users of the machine can read arguments. URLs with passwords belong in
KEYSTORE_COPY_FROM and KEYSTORE_COPY_TO, with no arguments then.`,
		`  keystore copy badger:///var/lib/keys redis://redis.internal/0 --verify
  KEYSTORE_COPY_FROM=… KEYSTORE_COPY_TO=… keystore copy --verify-only`,
		anyArguments, func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			from, to, err := a.copyURLs(cmd, args, f.verifyOnly)
			if err != nil {
				return err
			}
			return a.copyStores(cmd.Context(), from, to, f)
		})
	cmd.ValidArgsFunction = completeStore
	flags := cmd.Flags()
	flags.StringVar(&f.after, "after", "", "go on after this `id`, which an interrupted copy named")
	flags.BoolVar(&f.verify, "verify", false, "compare both stores afterwards")
	flags.BoolVar(&f.verifyOnly, "verify-only", false, "compare both stores and copy nothing")
	return cmd
}

func (f copyFlags) check(cmd *cobra.Command) error {
	if err := notEmpty(cmd, "after"); err != nil {
		return err
	}
	if err := switches(cmd, "verify", "verify-only"); err != nil {
		return err
	}
	if f.after != "" && f.verifyOnly {
		return usagef("--after is for copying, and --verify-only copies nothing")
	}
	return only(cmd, "verify", "verify-only")
}

// copyURLs returns the URLs to open: the arguments, or else those of the
// environment.
func (a *app) copyURLs(cmd *cobra.Command, args []string, onlyRead bool) (from, to string, err error) {
	source := setting{a.getenv("KEYSTORE_COPY_FROM"), "KEYSTORE_COPY_FROM"}
	target := setting{a.getenv("KEYSTORE_COPY_TO"), "KEYSTORE_COPY_TO"}
	switch {
	case a.flags.Changed("store"):
		return "", "", usagef("%s takes two stores, and --store is one", cmd.CommandPath())
	case len(args) == 2:
		source, target = setting{args[0], "FROM"}, setting{args[1], "TO"}
	case len(args) > 0 || source.text == "" || target.text == "":
		return "", "", usagef("%s takes two arguments, the URLs FROM and TO, or none, with KEYSTORE_COPY_FROM and KEYSTORE_COPY_TO set", cmd.CommandPath())
	}
	for _, s := range []setting{source, target} {
		if err := s.checkScheme(); err != nil {
			return "", "", err
		}
	}
	if source.text == target.text {
		return "", "", errSameStore()
	}
	if onlyRead {
		target.text = neverCreate(target.text)
	}
	return neverCreate(source.text), target.text, nil
}

func errSameStore() error { return usagef("FROM and TO are the same store") }

// copyStores opens both stores, copies and compares.
func (a *app) copyStores(ctx context.Context, fromURL, toURL string, f copyFlags) error {
	timeout, err := duration(a, "timeout", a.global.timeout, "KEYSTORE_TIMEOUT", defaultTimeout, parsePositive)
	if err != nil {
		return err
	}
	retention, err := duration(a, "retention", a.global.retention, "KEYSTORE_RETENTION", 0, parseRetention)
	if err != nil {
		return err
	}
	from, err := a.openBackend(ctx, fromURL)
	if err != nil {
		return named("FROM", err)
	}
	defer a.closeBackend(from)
	to, err := a.openBackend(ctx, toURL)
	var locked *badger.LockedError
	switch {
	case errors.As(err, &locked) && locked.PID == os.Getpid():
		return errSameStore()
	case err != nil:
		return named("TO", err)
	}
	defer a.closeBackend(to)
	if socket.Same(from, to) {
		return errSameStore()
	}

	var problems []error
	finished := true
	if !f.verifyOnly {
		finished, problems = a.copyKeys(ctx, from, to, keystore.CopyOptions{After: f.after, OpTimeout: timeout, Retention: retention})
	}
	if finished && (f.verify || f.verifyOnly) {
		problems = append(problems, a.compareKeys(ctx, from, to, keystore.CompareOptions{OpTimeout: timeout})...)
	}
	return mostUrgentFirst(problems)
}

// named says what an error is about: of two stores, or of a setting.
func named(what string, err error) error {
	var own *failure
	if errors.As(err, &own) {
		return &failure{own.status, what + ": " + own.text, err}
	}
	return fmt.Errorf("%s: %w", what, err)
}
