package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/keystore/backend"
)

var countsUpkeepChecks = []check{
	{"a context that is cancelled", countsCancelled},
	{"a context whose deadline has passed", countsExpired},
	{"a context cancelled on the way", spendCancelledOnTheWay},
	{"every method returns ErrClosed", countsClosed},
	{"other handles go on", countsOthersGoOn},
	{"closing during calls", countsCloseDuringCalls},
	{"reopened", countsReopened},
}

const countsSurvive = rule("closing all handles and opening again finds the counts")

// spentThere is the window of the key "there", which every one of the calls
// applies to.
var spentThere = window("hour", time.Hour, -1, 10)

// prepareCounts spends 3.
func (s *store) prepareCounts(c backend.Counter) {
	s.Helper()
	s.allow(spendAdds, c, spending("there", 3, spentThere), 3)
}

func counterCalls(c backend.Counter) []call {
	return []call{
		{"Spend", func(ctx context.Context) error {
			_, err := c.Spend(ctx, spending("there", 1, spentThere))
			return err
		}},
		{"Counts", func(ctx context.Context) error {
			_, err := c.Counts(ctx, "there", []backend.Window{spentThere})
			return err
		}},
		{"ResetCounts", func(ctx context.Context) error { return c.ResetCounts(ctx, "there") }},
		{"PurgeCounts", func(ctx context.Context) error {
			_, err := c.PurgeCounts(ctx, now, 10)
			return err
		}},
	}
}

func countsCancelled(s *store) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.countsRefuse(ctx, context.Canceled)
}

func countsExpired(s *store) {
	ctx, cancel := context.WithDeadline(s.ctx, time.Now().Add(-time.Hour))
	defer cancel()
	s.countsRefuse(ctx, context.DeadlineExceeded)
}

func (s *store) countsRefuse(ctx context.Context, want error) {
	s.Helper()
	c := s.counter(s.handle())
	s.prepareCounts(c)
	for _, call := range counterCalls(c) {
		s.is(rule(fmt.Sprintf("%s returns %q if the context has ended", call.method, want)), call.do(ctx), want)
		s.counted(beforeEffect, c, "there", []backend.Window{spentThere}, 3)
	}
}

// spendCancelledOnTheWay cancels spends at a moment that nobody knows, and
// repeats them.
func spendCancelledOnTheWay(s *store) {
	c := s.counter(s.handle())
	w := []backend.Window{window("day", 24*time.Hour, 0, 1000)}
	for n := range int64(40) {
		what := spending("key-1", 1, w...)
		ctx, cancel := context.WithCancel(s.ctx)
		go cancel()
		_, err := c.Spend(ctx, what)
		cancel()
		counts := s.counts(c, "key-1", w)
		happened := slices.Equal(counts, []int64{n + 1})
		switch {
		case !happened && !slices.Equal(counts, []int64{n}):
			honestOutcome.Errorf(s, "counts are %v after %d spends and one that was cancelled", counts, n)
		case err == nil && !happened:
			honestOutcome.Errorf(s, "a Spend returned nil and is not counted")
		case errors.Is(err, backend.ErrNotApplied) && happened:
			honestOutcome.Errorf(s, "a Spend returned %v and is counted", err)
		case answerIn(err) != nil:
			honestOutcome.Errorf(s, "error is %v, which is an answer", err)
		}
		s.allow(spendRepeats, c, what, n+1)
	}
}

func countsClosed(s *store) {
	b := s.handle()
	c := s.counter(b)
	s.prepareCounts(c)
	s.close(b)
	for _, call := range counterCalls(c) {
		s.is(rule(fmt.Sprintf("after Close %s returns ErrClosed", call.method)), call.do(s.ctx), backend.ErrClosed)
	}
	s.counted("what returns ErrClosed has no effect", s.counter(s.handle()), "there", []backend.Window{spentThere}, 3)
}

func countsOthersGoOn(s *store) {
	first, b, last := s.handle(), s.handle(), s.handle()
	s.prepareCounts(s.counter(first))
	s.close(first)
	c := s.counter(b)
	s.counted(othersWork, c, "there", []backend.Window{spentThere}, 3)
	s.close(last)
	for _, call := range counterCalls(c) {
		if err := call.do(s.ctx); err != nil {
			othersWork.Errorf(s, "%s: error is %v", call.method, err)
		}
	}
	s.allow(othersWork, c, spending("there", 1, spentThere), 1)
}

// countsCloseDuringCalls closes the only handle while it is in use, and looks
// then for what was acknowledged.
func countsCloseDuringCalls(s *store) {
	const callers = 6
	w := []backend.Window{window("day", 24*time.Hour, 0, 1000)}
	total := make([]int64, callers)
	for range 4 {
		b := s.handle()
		c := s.counter(b)
		s.amid(callers, func(i int, called func()) {
			for range 100 {
				called()
				_, err := c.Spend(s.ctx, spending(fmt.Sprintf("key-%d", i), 1, w...))
				if errors.Is(err, backend.ErrClosed) {
					return
				}
				if err != nil {
					rule("a call during Close returns what it does without, or ErrClosed").Errorf(s, "Spend: error is %v", err)
					return
				}
				total[i]++
			}
		}, func() { s.close(b) })

		b = s.handle()
		c = s.counter(b)
		for i, n := range total {
			s.counted("what was acknowledged before Close is counted, and what returns ErrClosed is not", c, fmt.Sprintf("key-%d", i), w, n)
		}
		s.close(b)
	}
}

func countsReopened(s *store) {
	b := s.handle()
	c := s.counter(b)
	both := []backend.Window{window("day", 24*time.Hour, 0, 10), window("hour", time.Hour, -1, 20)}
	what := spending("key-1", 4, both...)
	s.allow(spendAdds, c, what, 4, 4)
	s.allow(spendAdds, c, spending("ended", 1, both[1]), 1)
	s.allow(spendAdds, c, spending("reset", 1, both...), 1, 1)
	s.resetCounts(c, "reset")
	for i := range 10 {
		s.allow(spendAdds, c, spending(fmt.Sprintf("key-1%d", i), int64(i)+1, both[0]), int64(i)+1)
	}
	for turn := range int64(3) { // again without a change in between
		b = s.reopened(b)
		c = s.counter(b)
		s.counted(countsSurvive, c, "key-1", both, 4+turn, 4+turn)
		s.counted("counts that were reset do not come back", c, "reset", both, 0, 0)
		for i := range 10 {
			s.counted(countsSurvive, c, fmt.Sprintf("key-1%d", i), both[:1], int64(i)+1)
		}
		s.allow(spendRepeats, c, what, 4+turn, 4+turn)
		s.deny(countsSurvive, c, spending("key-1", 7, both...), 4+turn, 4+turn)
		s.allow(countsSurvive, c, spending("key-1", 1, both...), 5+turn, 5+turn)
	}
	b = s.reopened(b)
	c = s.counter(b)
	if n := s.purgeAllCounts(c, now); n != 1 {
		countsPurged.Errorf(s, "it says %d of 1 key of which all windows have ended", n)
	}
	b = s.reopened(b)
	s.counted("counts that were purged do not come back", s.counter(b), "ended", both[1:], 0)
	s.counted(countsSurvive, s.counter(b), "key-1", both, 7, 7)
}
