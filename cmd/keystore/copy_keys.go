package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// copyView is what a copy did, as --json prints it.
type copyView struct {
	Read      int64  `json:"read"`
	Created   int64  `json:"created"`
	Updated   int64  `json:"updated"`
	Unchanged int64  `json:"unchanged"`
	Kept      int64  `json:"kept"`
	Revoked   int64  `json:"revoked"`
	Diverged  int64  `json:"diverged"`
	Damaged   int64  `json:"damaged"`
	Last      string `json:"last"`
}

// copyKeys copies and prints what it did, also where it came to no end. It
// returns whether it did, and what is wrong.
func (a *app) copyKeys(ctx context.Context, from, to backend.Backend, o keystore.CopyOptions) (finished bool, problems []error) {
	line := a.progress("copied")
	o.Progress = func(r keystore.CopyResult) { line.show(r.Read) }
	r, err := keystore.Copy(ctx, from, to, &o)
	line.end()
	if errors.Is(err, keystore.ErrInvalid) {
		return false, []error{err}
	}
	for _, p := range r.Problems {
		a.logger().Warn("not copied", "error", errorText(p.Err))
	}
	if err := a.print(copyView{r.Read, r.Created, r.Updated, r.Unchanged, r.Kept, r.Revoked, r.Diverged, r.Damaged, r.Last}, []field{
		number("read", r.Read), number("created", r.Created), number("updated", r.Updated), number("unchanged", r.Unchanged),
		number("kept", r.Kept), number("revoked", r.Revoked), number("diverged", r.Diverged), number("damaged", r.Damaged), {"last", shown(r.Last)},
	}); err != nil {
		problems = append(problems, err)
	}
	finished = err == nil || r.Damaged+r.Diverged > 0 && !errors.Is(err, keystore.ErrUnavailable)
	if !finished {
		again := "to go on, run the same command again"
		if r.Last != "" {
			again += " with --after " + shown(r.Last)
		}
		problems = append(problems, stopped(ctx, err, again))
	}
	if r.Damaged > 0 {
		problems = append(problems, &failure{status: statusCorrupt, text: fmt.Sprintf("damaged records, not copied: %d", r.Damaged)})
	}
	if r.Diverged > 0 {
		problems = append(problems, &failure{status: statusConflict, text: fmt.Sprintf("keys that both stores have changed, left as they are in TO: %d", r.Diverged)})
	}
	return finished, problems
}

// compareView is the outcome of a comparison, as --json prints it.
type compareView struct {
	Same      int64 `json:"same"`
	Missing   int64 `json:"missing"`
	Older     int64 `json:"older"`
	Newer     int64 `json:"newer"`
	Diverged  int64 `json:"diverged"`
	Damaged   int64 `json:"damaged"`
	Extra     int64 `json:"extra"`
	UsedLater int64 `json:"used_later"`
}

// compareKeys compares and prints the outcome. It returns what is wrong.
func (a *app) compareKeys(ctx context.Context, from, to backend.Backend, o keystore.CompareOptions) (problems []error) {
	line := a.progress("compared")
	o.Progress = func(r keystore.CompareResult) { line.show(r.Same + r.Different()) }
	r, err := keystore.Compare(ctx, from, to, &o)
	line.end()
	for _, d := range r.Differences {
		if d.Err != nil {
			a.logger().Warn("different", "key", d.ID, "target", d.Kind, "error", errorText(d.Err))
			continue
		}
		a.logger().Warn("different", "key", d.ID, "target", d.Kind)
	}
	if err := a.print(compareView{r.Same, r.Missing, r.Older, r.Newer, r.Diverged, r.Damaged, r.Extra, r.UsedLater}, []field{
		number("same", r.Same), number("missing", r.Missing), number("older", r.Older), number("newer", r.Newer),
		number("diverged", r.Diverged), number("damaged", r.Damaged), number("extra", r.Extra), number("used_later", r.UsedLater),
	}); err != nil {
		problems = append(problems, err)
	}
	switch {
	case err != nil:
		problems = append(problems, stopped(ctx, err, "the comparison did not come to its end"))
	case r.Damaged > 0:
		problems = append(problems, &failure{status: statusCorrupt, text: fmt.Sprintf("damaged records: %d", r.Damaged)})
	case r.Different() > 0:
		problems = append(problems, &failure{status: statusConflict, text: fmt.Sprintf("keys that differ: %d", r.Different())})
	}
	return problems
}

func number(name string, n int64) field { return field{name, strconv.FormatInt(n, 10)} }

// stopped is the failure of a copy or comparison that came to no end, with what
// to do about it. Whether the last write took effect is of no interest: to run it
// again is right in any case.
func stopped(ctx context.Context, err error, again string) error {
	if ctx.Err() != nil {
		return &failure{status: statusInterrupted, text: "interrupted; " + again}
	}
	s := statusUnavailable
	var own *failure
	if err = explained(err); errors.As(err, &own) {
		s = own.status
	}
	return &failure{status: s, text: errorText(err) + "; " + again}
}

// urgency is the order in which a copy's failures decide the exit code.
var urgency = []status{statusInterrupted, statusUnavailable, statusCorrupt, statusConflict, statusFailed}

func mostUrgentFirst(problems []error) error {
	rank := func(err error) int {
		var own *failure
		if !errors.As(err, &own) {
			return -1
		}
		return slices.Index(urgency, own.status)
	}
	slices.SortStableFunc(problems, func(a, b error) int { return cmp.Compare(rank(a), rank(b)) })
	return errors.Join(problems...)
}
