package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// limitsView is what is left of the limits of a key, as --json prints it.
type limitsView struct {
	KeyID  string               `json:"key_id"`
	Plan   string               `json:"plan"`
	Limits []keyview.LimitState `json:"limits"`
}

func (a *app) limits() *cobra.Command {
	var reset bool
	cmd := a.command("limits ID", "Show what is left of the limits of a key",
		`Shows the limits of a key, those of its plan included, what is left of each in the
window that is under way, and when the next one begins. --reset gives all of it back.`,
		`  keystore limits 0000000000000000
  keystore limits 0000000000000000 --reset`,
		oneArgument("the id of a key"), func(cmd *cobra.Command, args []string) error {
			if err := switches(cmd, "reset"); err != nil {
				return err
			}
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				key, states, err := limitsOf(ctx, ks, args[0])
				if err == nil && reset { // what cannot be shown is not reset either
					if err = ks.ResetLimits(ctx, key.ID); err == nil {
						key, states, err = limitsOf(ctx, ks, key.ID)
					}
				}
				if err != nil {
					return err
				}
				return a.printLimits(key, states)
			})
		})
	cmd.Flags().BoolVar(&reset, "reset", false, "forget what was spent, and begin each window anew")
	return cmd
}

func limitsOf(ctx context.Context, ks *keystore.Keystore, id string) (keystore.Key, []keystore.LimitState, error) {
	key, err := ks.Get(ctx, id)
	if err != nil {
		return keystore.Key{}, nil, err
	}
	if _, known := ks.Plans()[key.Plan]; key.Plan != "" && !known {
		return keystore.Key{}, nil, unavailable(keystore.ErrUnavailable, "key "+key.ID+" has a plan that is not known here: "+givePlans)
	}
	states, err := ks.LimitsOf(ctx, id)
	return key, states, err
}

func (a *app) printLimits(key keystore.Key, states []keystore.LimitState) error {
	if a.global.json {
		return a.write(jsonLine(limitsView{key.ID, key.Plan, keyview.States(states)}))
	}
	rows := [][]string{{"LIMIT", "REMAINING", "RESETS"}}
	for _, s := range states {
		rows = append(rows, []string{s.Limit.String(), strconv.FormatInt(s.Remaining, 10), shortTime(&s.Reset)})
	}
	return a.printTable(rows)
}

// printTable shows rows, the first of which is the head, in columns that fit.
func (a *app) printTable(rows [][]string) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = table.Write([]byte(strings.Join(row, "\t") + "\n")) // a Builder takes everything
	}
	_ = table.Flush()
	return a.write([]byte(text.String()))
}

// stateFields are the limits of a key that was looked up, as lines of text.
func stateFields(states []keystore.LimitState) []field {
	var list []field
	for _, s := range states {
		list = append(list, field{"remaining", strconv.FormatInt(s.Remaining, 10) + " of " + s.Limit.String() + ", until " + shortTime(&s.Reset)})
	}
	return list
}

// limitsText is limits on one line.
func limitsText(limits []keystore.Limit) string {
	texts := make([]string, len(limits))
	for i, l := range limits {
		texts[i] = l.String()
	}
	return strings.Join(texts, ", ")
}

// parseLimits reads the values of --limit. It returns nil for none.
func parseLimits(texts []string) ([]keystore.Limit, error) {
	var limits []keystore.Limit
	for _, text := range texts {
		l, err := keystore.ParseLimit(text)
		if err != nil {
			return nil, usagef("--limit: %s", errorText(err))
		}
		if slices.ContainsFunc(limits, limitCalled(l.Name)) {
			return nil, usagef("--limit: two of them have the same name")
		}
		limits = append(limits, l)
	}
	return limits, nil
}

func limitCalled(name string) func(keystore.Limit) bool {
	return func(l keystore.Limit) bool { return l.Name == name }
}

func parseCost(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > keystore.MaxCost {
		return 0, problem("a cost is a number from 1 to " + strconv.Itoa(keystore.MaxCost))
	}
	return n, nil
}

// wholeSeconds is a duration rounded up: who waits for it waits long enough.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
