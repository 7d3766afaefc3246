// Package turns compares two operations in one benchmark: they take turns, so that
// both meet the same machine, and what comes out is how their times relate. The
// times alone move by tens of percent from run to run; the ratio does not.
package turns

import (
	"errors"
	"flag"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Side is one of the two.
type Side struct {
	// Op does the operation once and fails if the outcome is not the one that is
	// measured. Numbers i count up, also from one turn to the next: no two calls of
	// the side get the same, though some may be left out. All callers call at once.
	Op func(i int) error
	// Prepare, if not nil, makes what the next turn uses up. It is not timed.
	Prepare func() error
	// Each is how many operations a call of Op does, 1 if it is 0.
	Each int

	next int64 // the number of the next call; atomic
}

// ErrUsedUp is returned by an Op that did nothing because nothing prepared is left. It
// ends the turn of its caller.
var ErrUsedUp = errors.New("turns: what was prepared is used up")

// Pair is a comparison.
type Pair struct {
	Callers int           // that call at the same time
	Turn    time.Duration // after which no caller begins a further call
	Block   int           // how many numbers in a row a caller takes at once, 1 if it is 0; more where taking one is not negligible
	Raw     Side          // what ours is compared with; without Op there is nothing
	Ours    Side
}

// Result holds medians over all turns, in nanoseconds of wall time per operation,
// whichever caller made it.
type Result struct {
	Raw, Ours float64
	Ratio     float64 // of ours to raw, of two turns that followed each other; below 1 ours is faster
	Over      float64 // ours less raw, likewise
}

// Run lets both sides take turns until the time of the benchmark is over, first one
// first and then the other, and reports raw-ns/op, ours-ns/op and ratio, and for a
// single caller ours-allocs/op. The first call that fails ends the benchmark.
func Run(b *testing.B, p *Pair) Result {
	b.Helper()
	if f := flag.Lookup("test.benchtime"); f != nil && f.Value.String() == "1x" {
		p.Turn = min(p.Turn, 5*time.Millisecond) // whoever asks for one turn wants to see that it works
	}
	raw, ours := &player{side: &p.Raw, pair: p}, &player{side: &p.Ours, pair: p}
	order := []*player{raw, ours}
	if p.Raw.Op == nil {
		order = order[1:]
	}
	for b.Loop() {
		for _, side := range order {
			if err := side.turn(); err != nil {
				b.Fatal(err)
			}
		}
		slices.Reverse(order)
	}
	r := Result{Ours: median(ours.times)}
	if p.Raw.Op != nil {
		ratios, overs := make([]float64, len(raw.times)), make([]float64, len(raw.times))
		for i := range raw.times {
			ratios[i], overs[i] = ours.times[i]/raw.times[i], ours.times[i]-raw.times[i]
		}
		r.Raw, r.Ratio, r.Over = median(raw.times), median(ratios), median(overs)
		b.ReportMetric(r.Raw, "raw-ns/op")
		b.ReportMetric(r.Ratio, "ratio")
	}
	b.ReportMetric(r.Ours, "ours-ns/op")
	if p.Callers == 1 {
		b.ReportMetric(math.Round(100*median(ours.allocs))/100, "ours-allocs/op") // a turn itself makes a few
	}
	b.ReportMetric(0, "ns/op") // of a turn of each: not shown
	return r
}

// player is a side on its way through the turns.
type player struct {
	side   *Side
	pair   *Pair
	times  []float64 // of each turn: nanoseconds per operation
	allocs []float64 // of each turn: per operation
}

func (p *player) turn() error {
	if p.side.Prepare != nil {
		if err := p.side.Prepare(); err != nil {
			return err
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	took, ops, err := p.play()
	runtime.ReadMemStats(&after)
	if err != nil {
		return err
	}
	if ops == 0 {
		return errors.New("turns: a turn without any operation")
	}
	p.times = append(p.times, float64(took.Nanoseconds())/float64(ops))
	p.allocs = append(p.allocs, float64(after.Mallocs-before.Mallocs)/float64(ops))
	return nil
}

// play has all callers call until the turn is over. What they then have begun is
// finished, counted and timed.
func (p *player) play() (took time.Duration, ops int, err error) {
	var over atomic.Bool
	calls, failures := make([]int, p.pair.Callers), make([]error, p.pair.Callers)
	var wg sync.WaitGroup
	start := time.Now()
	timer := time.AfterFunc(p.pair.Turn, func() { over.Store(true) })
	for c := range p.pair.Callers {
		wg.Go(func() { calls[c], failures[c] = p.call(&over) })
	}
	wg.Wait()
	took = time.Since(start)
	timer.Stop()
	for _, n := range calls {
		ops += n * max(1, p.side.Each)
	}
	if i := slices.IndexFunc(failures, func(err error) bool { return err != nil }); i >= 0 {
		err = failures[i] // the others are most likely the same
	}
	return took, ops, err
}

// call is one caller's turn.
func (p *player) call(over *atomic.Bool) (calls int, err error) {
	block := int64(max(1, p.pair.Block))
	for {
		last := atomic.AddInt64(&p.side.next, block)
		for i := last - block; i < last; i++ {
			err := p.side.Op(int(i))
			if err == ErrUsedUp {
				return calls, nil
			}
			if err != nil {
				over.Store(true) // for the others too
				return calls, err
			}
			calls++
			if over.Load() {
				return calls, nil
			}
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
