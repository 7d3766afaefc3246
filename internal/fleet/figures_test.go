package fleet

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outVariable names a file that the figures are appended to, as Go benchmarks are
// written: whole microseconds.
const outVariable = "KEYSTORE_FLEET_OUT"

// figures are what came of the changes of one kind.
type figures struct {
	kind                kind
	changes, violations int
	cached              int // pairs of a change and a reader that had the key cached
	refusals, retried   int
	lag, fresh, longest []time.Duration // sorted
}

func figuresOf(k kind, all []verdict) figures {
	f := figures{kind: k}
	for _, v := range all {
		if v.Kind != k {
			continue
		}
		f.changes++
		f.violations += len(v.Violations)
		f.cached += v.Cached
		f.refusals += v.Refusals
		f.retried += v.Tries - 1
		f.lag = append(f.lag, v.Lag)
		f.fresh = append(f.fresh, v.Fresh)
		f.longest = append(f.longest, v.Longest)
	}
	for _, list := range [][]time.Duration{f.lag, f.fresh, f.longest} {
		slices.Sort(list)
	}
	return f
}

// quantile is the least of sorted values that so many percent of them do not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

// line is a line of benchmark output.
func (f figures) line(backend, condition string, bound time.Duration) string {
	text := fmt.Sprintf("BenchmarkFleet/backend=%s/condition=%s/change=%s 1 %d p50-us %d p99-us %d max-us %d violations %d changes %d bound-us",
		backend, condition, f.kind, quantile(f.lag, 50).Microseconds(), quantile(f.lag, 99).Microseconds(),
		quantile(f.lag, 100).Microseconds(), f.violations, f.changes, bound.Microseconds())
	if f.kind == renew {
		text += fmt.Sprintf(" %d refusals %d new-p50-us %d new-max-us", f.refusals,
			quantile(f.fresh, 50).Microseconds(), quantile(f.fresh, 100).Microseconds())
	}
	return text
}

// report logs the figures of a condition, and appends them to the file that the
// environment names.
func report(t *testing.T, backend, condition string, bound time.Duration, all []verdict) {
	t.Helper()
	var lines, table strings.Builder
	fmt.Fprintf(&table, "%-14s %8s %10s %10s %10s %7s %7s %10s\n", "change", "changes", "p50", "p99", "max", "cached", "retried", "violations")
	for _, k := range kinds {
		f := figuresOf(k, all)
		fmt.Fprintf(&table, "%-14s %8d %10v %10v %10v %6d%% %7d %10d\n", k, f.changes,
			round(quantile(f.lag, 50)), round(quantile(f.lag, 99)), round(quantile(f.lag, 100)),
			100*f.cached/max(1, readers*f.changes), f.retried, f.violations)
		if k == renew {
			fmt.Fprintf(&table, "  new tokens: %d refusals; accepted elsewhere after p50 %v, max %v; a lookup took up to %v\n",
				f.refusals, round(quantile(f.fresh, 50)), round(quantile(f.fresh, 100)), round(quantile(f.longest, 100)))
		}
		fmt.Fprintln(&lines, f.line(backend, condition, bound))
	}
	t.Logf("%s, %s, bound %v:\n%s", backend, condition, bound, table.String())
	appendOut(t, lines.String())
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

var out sync.Mutex

func appendOut(t *testing.T, text string) {
	t.Helper()
	name := os.Getenv(outVariable)
	if name == "" {
		return
	}
	out.Lock()
	defer out.Unlock()
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, cmp.Or(err, file.Close()))
}
