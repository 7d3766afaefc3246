package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// listPage is how many keys are in memory at a time: the most that List gives.
const listPage = 200

// listing is what list was asked for.
type listing struct {
	owner string
	after string
	state keystore.State
	limit int // 0: none
}

func (a *app) list() *cobra.Command {
	var l listing
	cmd := a.command("list", "Show keys in order of creation",
		`Shows keys in order of creation, all of them unless --limit says otherwise. To go
on after a limit, pass the last id as --after. A damaged record is reported and
passed over.`,
		`  keystore list --owner alice --state active
  keystore list --limit 100 --json`,
		noArguments, func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"owner", "after"} {
				if err := notEmpty(cmd, name); err != nil {
					return err
				}
			}
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				return a.listKeys(ctx, ks, l)
			})
		})
	flags := cmd.Flags()
	flags.StringVar(&l.owner, "owner", "", "only the keys of this `owner`")
	flags.StringVar(&l.after, "after", "", "only keys after this `id`")
	flags.Var(parsedFlag[keystore.State]{&l.state, "state", parseState}, "state", "only keys in this `state`: "+strings.Join(stateNames(), ", "))
	flags.Var(parsedFlag[int]{&l.limit, "number", parseLimit}, "limit", "at most this `number` of keys")
	return cmd
}

func stateNames() []string {
	return []string{string(keystore.Active), string(keystore.Disabled), string(keystore.Expired), string(keystore.Revoked)}
}

func parseState(text string) (keystore.State, error) {
	if !slices.Contains(stateNames(), text) {
		return "", problem("a state is one of " + strings.Join(stateNames(), ", "))
	}
	return keystore.State(text), nil
}

func parseLimit(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, problem("a limit is a number from 1 on")
	}
	return n, nil
}

// listKeys shows keys a page at a time, however many there are.
func (a *app) listKeys(ctx context.Context, ks *keystore.Keystore, l listing) error {
	out := a.newKeyTable()
	damaged := 0
	for left := l.limit; ; {
		keys, next, err := ks.List(ctx, keystore.ListParams{Owner: l.owner, After: l.after, Limit: l.pageSize(left)})
		if err != nil && !errors.Is(err, keystore.ErrCorrupt) {
			return err
		}
		damaged += a.reportDamage(err)
		for _, k := range keys {
			view := keyview.Of(k, time.Now())
			if l.state != "" && view.State != l.state {
				continue
			}
			out.add(view)
			if left--; left == 0 {
				return errors.Join(out.flush(), damageError(damaged))
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		if next == "" {
			return damageError(damaged)
		}
		l.after = next
	}
}

// pageSize is how many keys to ask for. With a state, there is no telling how
// many of them will be shown.
func (l listing) pageSize(left int) int {
	if l.limit == 0 || l.state != "" {
		return listPage
	}
	return min(left, listPage)
}

// reportDamage logs each damaged record of an error that joins some, and returns
// how many there are.
func (a *app) reportDamage(err error) int {
	if err == nil {
		return 0
	}
	records := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		records = joined.Unwrap()
	}
	log := a.logger()
	for _, record := range records {
		log.Warn("passed over", "error", errorText(record))
	}
	return len(records)
}

func damageError(records int) error {
	if records == 0 {
		return nil
	}
	return &failure{status: statusCorrupt, text: fmt.Sprintf("damaged records: %d", records), cause: keystore.ErrCorrupt}
}

// keyTable shows several keys: with --json one a line, else as a table whose
// columns fit each page.
type keyTable struct {
	a     *app
	out   *bufio.Writer
	table *tabwriter.Writer
	err   error
}

func (a *app) newKeyTable() *keyTable {
	t := &keyTable{a: a, out: bufio.NewWriter(a.out)}
	t.table = tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	if !a.global.json {
		t.row("ID", "STATE", "OWNER", "NAME", "SCOPES", "PLAN", "LIMITS", "CREATED", "EXPIRES", "LAST USED")
	}
	return t
}

// row adds a line; a failure is kept for flush.
func (t *keyTable) row(cells ...string) {
	_, err := io.WriteString(t.table, strings.Join(cells, "\t")+"\n")
	t.err = errors.Join(t.err, err)
}

func (t *keyTable) add(k keyView) {
	if t.a.global.json {
		_, err := t.out.Write(jsonLine(k))
		t.err = errors.Join(t.err, err)
		return
	}
	t.row(k.ID, string(k.State), shown(k.Owner), shown(k.Name), shown(strings.Join(k.Scopes, " ")),
		shown(k.Plan), shown(ownLimits(k)), shortTime(&k.CreatedAt), shortTime(k.ExpiresAt), shortTime(k.LastUsedAt))
}

// flush ends a page.
func (t *keyTable) flush() error {
	if err := errors.Join(t.err, t.table.Flush(), t.out.Flush()); err != nil {
		return fileError("standard output", err)
	}
	return nil
}

// shortTime is a time to the second, for tables.
func shortTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
