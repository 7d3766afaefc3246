package main

import (
	"context"
	"encoding/csv"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

// metering is what usage was asked for.
type metering struct {
	owner    string
	from, to moment
	by       time.Duration // day or time.Hour
	csv      bool
}

// defaultAgo is from when usage is shown where nothing is said.
const defaultAgo = 30 * day

func (a *app) usage() *cobra.Command {
	m := metering{from: moment{ago: defaultAgo}, by: day}
	cmd := a.command("usage (ID | --owner OWNER)", "Show how much a key, or an owner, was used",
		`Shows how many lookups of a key, or of all keys of an owner, there were on each day
or in each hour, in UTC: those that were allowed, those that a limit refused, those
that lacked a scope; and what the allowed ones cost. Usage outlives the key. What a
program counted in the last half minute may still be missing.

--from and --to are times, such as 2027-01-31T12:00:00Z, or durations before now,
such as 7d, from the beginning of that day or hour on. Without them: the last 30 days.`,
		`  keystore usage 0000000000000000
  keystore usage --owner alice --from 24h --by hour
  keystore usage --owner alice --from 2027-01-01T00:00:00Z --to 2027-02-01T00:00:00Z --csv`,
		anyArguments, func(cmd *cobra.Command, args []string) error {
			if byOwner := cmd.Flags().Changed("owner"); byOwner == (len(args) == 1) || len(args) > 1 {
				return usagef("%s takes the id of a key, or else --owner", cmd.CommandPath())
			}
			if err := notEmpty(cmd, "owner"); err != nil {
				return err
			}
			if err := switches(cmd, "csv"); err != nil {
				return err
			}
			if m.csv && a.global.json {
				return usagef("--csv and --json exclude each other")
			}
			return a.withStore(cmd, mustExist, func(ctx context.Context, ks *keystore.Keystore) error {
				if m.owner != "" {
					return a.showUsage(m, func(from, to time.Time) iter.Seq2[keystore.Usage, error] {
						return ks.OwnerUsage(ctx, m.owner, from, to)
					})
				}
				return a.showUsage(m, func(from, to time.Time) iter.Seq2[keystore.Usage, error] {
					return usageOfKey(ctx, ks, args[0], from, to)
				})
			})
		})
	flags := cmd.Flags()
	flags.StringVar(&m.owner, "owner", "", "all keys of this `owner`, those that were deleted included")
	flags.Var(parsedFlag[moment]{&m.from, "time", parseMoment}, "from", "`time`, or duration before now, at which it begins; default 30d")
	flags.Var(parsedFlag[moment]{&m.to, "time", parseMoment}, "to", "`time`, or duration before now, before which it ends; default now")
	flags.Var(parsedFlag[time.Duration]{&m.by, "unit", parseUnit}, "by", "`unit` of each line: day or hour; default day")
	flags.BoolVar(&m.csv, "csv", false, "print CSV (RFC 4180), with a header line")
	return cmd
}

// moment is a time, or a duration before now. The zero value is neither.
type moment struct {
	at  time.Time
	ago time.Duration
	set bool
}

func parseMoment(text string) (moment, error) {
	if at, err := parseTime(text); err == nil {
		return moment{at: at, set: true}, nil
	}
	ago, err := parseDuration(text)
	if err != nil {
		return moment{}, problem("it is neither a time like 2027-01-31T12:00:00Z nor a duration before now like 7d")
	}
	return moment{ago: ago, set: true}, nil
}

// on returns the time that is meant. A duration leads to the beginning of a day or
// an hour: the first line would show a part of it.
func (m moment) on(now time.Time, unit time.Duration) time.Time {
	if !m.at.IsZero() {
		return m.at
	}
	return now.Add(-m.ago).UTC().Truncate(unit)
}

func parseUnit(text string) (time.Duration, error) {
	switch text {
	case "day":
		return day, nil
	case "hour":
		return time.Hour, nil
	}
	return 0, problem("it is day or hour")
}

// usageOfKey is the usage of a key that exists, or has any.
func usageOfKey(ctx context.Context, ks *keystore.Keystore, id string, from, to time.Time) iter.Seq2[keystore.Usage, error] {
	return func(yield func(keystore.Usage, error) bool) {
		none := true
		for u, err := range ks.Usage(ctx, id, from, to) {
			none = false
			if !yield(u, err) {
				return
			}
		}
		if !none {
			return
		}
		if _, err := ks.Get(ctx, id); err != nil && !errors.Is(err, keystore.ErrCorrupt) {
			yield(keystore.Usage{}, err)
		}
	}
}

// showUsage shows the usage that of returns.
func (a *app) showUsage(m metering, of func(from, to time.Time) iter.Seq2[keystore.Usage, error]) error {
	now := time.Now()
	from, to, end := m.from.on(now, m.by), time.Time{}, now
	if m.to.set {
		to = m.to.on(now, m.by)
		end = to
	}
	if !from.Before(end) {
		if !m.to.set {
			return usagef("--from is not before now, where it ends without --to")
		}
		return usagef("--from is not before --to")
	}
	lines := of(from, to)
	if m.by == day {
		lines = keystore.ByDay(lines)
	}
	switch {
	case a.global.json:
		return a.printUsageJSON(lines)
	case m.csv:
		return a.printUsageCSV(lines)
	}
	return a.printUsageTable(lines, m.by)
}

func (a *app) printUsageJSON(lines iter.Seq2[keystore.Usage, error]) error {
	for u, err := range lines {
		if err != nil {
			return err
		}
		if err := a.write(jsonLine(u)); err != nil {
			return err
		}
	}
	return nil
}

// printUsageCSV has no line of totals: who sums the column would count twice.
func (a *app) printUsageCSV(lines iter.Seq2[keystore.Usage, error]) error {
	out := csv.NewWriter(a.out)
	out.UseCRLF = true                                                              // RFC 4180, section 2
	_ = out.Write([]string{"start", "allowed", "limited", "missing_scope", "cost"}) // Flush tells of errors
	began := false
	var failed error
	for u, err := range lines {
		if failed = err; err != nil {
			break
		}
		began = true
		_ = out.Write([]string{shortTime(&u.Start), decimal(u.Allowed), decimal(u.Limited), decimal(u.MissingScope), decimal(u.Cost)})
	}
	if failed != nil && !began {
		return failed // a header alone would say that there was no usage
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return errors.Join(failed, fileError("standard output", err))
	}
	return failed
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
