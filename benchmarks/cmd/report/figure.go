package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchmath"
	"golang.org/x/perf/benchunit"
)

// figure is the median of some samples with its confidence interval, by
// benchstat's method: no distribution is assumed, and the interval is between two
// of the samples. It needs 6 samples at 95 %; with fewer, lo and hi are infinite.
type figure struct {
	median, lo, hi float64
	n              int
	unit           string // tidied

	most, sum float64 // of the samples
}

const confidence = 0.95

func summarize(values []float64, unit string) figure {
	sample := benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
	s := benchmath.AssumeNothing.Summary(sample, confidence)
	f := figure{median: s.Center, lo: s.Lo, hi: s.Hi, n: len(values), unit: unit, most: slices.Max(values)}
	for _, v := range values {
		f.sum += v
	}
	return f
}

func (f figure) hasInterval() bool { return !math.IsInf(f.lo, 0) && !math.IsInf(f.hi, 0) }

// String is the median alone, with its unit: "12.2 us".
func (f figure) String() string { return quantity(f.median, f.unit) }

// percent is the median and the interval's wider side: "12.2 us ± 3%".
func (f figure) percent() string {
	if !f.hasInterval() {
		return f.String() + f.samples()
	}
	s := benchmath.Summary{Center: f.median, Lo: f.lo, Hi: f.hi}
	return f.String() + " ± " + s.PctRangeString()
}

// between is the median and both ends of the interval: "1.08 (1.05–1.12)".
func (f figure) between() string {
	if !f.hasInterval() {
		return f.String() + f.samples()
	}
	if f.lo < 0 { // a dash would look like a second minus
		return fmt.Sprintf("%s (%s to %s)", f, quantity(f.lo, f.unit), quantity(f.hi, f.unit))
	}
	lo, unit := scaled(f.lo, f.unit)
	hi := quantity(f.hi, f.unit)
	if _, same := scaled(f.hi, f.unit); same != unit {
		lo += " " + unit
	}
	return fmt.Sprintf("%s (%s–%s)", f, lo, hi)
}

// largest is the largest sample.
func (f figure) largest() string { return quantity(f.most, f.unit) }

// times is a ratio in passing: 1.08x.
func (f figure) times() string { return f.String() + "x" }

// inverse is one by it, in that unit.
func (f figure) inverse(unit string) figure {
	inv := figure{median: 1 / f.median, lo: math.Inf(-1), hi: math.Inf(1), n: f.n, unit: unit}
	if f.hasInterval() {
		inv.lo, inv.hi = 1/f.hi, 1/f.lo
	}
	return inv
}

// rate is how often a time, in seconds, fits into one.
func (f figure) rate() figure { return f.inverse("ops/s") }

// samples marks a figure that has no interval.
func (f figure) samples() string { return fmt.Sprintf(" (n=%d)", f.n) }

// meets judges the median by a goal such as "<= 1.5". Where the interval holds
// the goal, the next run may judge otherwise, and the word says so.
func (f figure) meets(goal goal) string {
	word := "missed"
	if goal.holds(f.median) {
		word = "reached"
	}
	if f.hasInterval() && goal.holds(f.lo) != goal.holds(f.hi) {
		word += ", but not certain"
	}
	return word
}

// goal is a bound in the unit of the results: at most, or at least.
type goal struct {
	least bool
	bound float64
}

// parseGoal reads "<= 1.5" or ">= 2.5".
func parseGoal(text string) (goal, error) {
	op, number, _ := strings.Cut(text, " ")
	bound, err := strconv.ParseFloat(number, 64)
	if err != nil || (op != "<=" && op != ">=") {
		return goal{}, fmt.Errorf("%q is no goal, as \"<= 1.5\" is", text)
	}
	return goal{least: op == ">=", bound: bound}, nil
}

// in converts the bound from the unit as written ("ns/op") to the tidied one.
func (g goal) in(unit string) goal {
	g.bound, _ = benchunit.Tidy(g.bound, unit)
	return g
}

func (g goal) holds(v float64) bool {
	if g.least {
		return v >= g.bound
	}
	return v <= g.bound
}

// String writes the bound: "1.5", or "250 ns" where the unit is a time.
func (g goal) String(unit string) string {
	number, suffix := scaled(g.bound, unit)
	return strings.TrimSpace(trimmed(number) + " " + suffix)
}
