package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/keystore/backend"
)

var usageUpkeepChecks = []check{
	{"a context that is cancelled", usageCancelled},
	{"a context whose deadline has passed", usageExpired},
	{"a context cancelled on the way", additionCancelledOnTheWay},
	{"every method returns ErrClosed", usageClosed},
	{"other handles go on", usageOthersGoOn},
	{"closing during calls", usageCloseDuringCalls},
	{"reopened", usageReopened},
}

const usageSurvives = rule("closing all handles and opening again finds the tallies")

// prepareUsage makes a tally that every one of the calls applies to.
func (s *store) prepareUsage(m backend.Meter) {
	s.Helper()
	s.add(m, addingUntil("there", today, now))
}

func meterCalls(m backend.Meter) []call {
	return []call{
		{"AddUsage", func(ctx context.Context) error {
			return m.AddUsage(ctx, []backend.Addition{addingUntil("there", today, now)})
		}},
		{"Usage", func(ctx context.Context) error {
			_, err := m.Usage(ctx, "there", today, dayAfter(1))
			return err
		}},
		{"PurgeUsage", func(ctx context.Context) error {
			_, err := m.PurgeUsage(ctx, now, 10)
			return err
		}},
	}
}

func usageCancelled(s *store) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.usageRefuses(ctx, context.Canceled)
}

func usageExpired(s *store) {
	ctx, cancel := context.WithDeadline(s.ctx, time.Now().Add(-time.Hour))
	defer cancel()
	s.usageRefuses(ctx, context.DeadlineExceeded)
}

func (s *store) usageRefuses(ctx context.Context, want error) {
	s.Helper()
	m := s.meter(s.handle())
	s.prepareUsage(m)
	for _, call := range meterCalls(m) {
		s.is(rule(fmt.Sprintf("%s returns %q if the context has ended", call.method, want)), call.do(ctx), want)
		s.tallied(beforeEffect, m, "there", on(today, tally{"a": 1}))
	}
}

// additionCancelledOnTheWay cancels additions at a moment that nobody knows, and
// repeats them.
func additionCancelledOnTheWay(s *store) {
	m := s.meter(s.handle())
	for n := range int64(30) {
		a := []backend.Addition{adding("k1", today, tally{"a": 1})}
		ctx, cancel := context.WithCancel(s.ctx)
		go cancel()
		err := m.AddUsage(ctx, a)
		cancel()
		got, usageErr := m.Usage(s.ctx, "k1", today, dayAfter(1))
		s.ok("Usage returns the tallies", usageErr)
		var sum int64
		for _, t := range got {
			sum += t.Counts["a"]
		}
		switch {
		case sum != n && sum != n+1:
			honestOutcome.Errorf(s, "the sum is %d after %d additions and one that was cancelled", sum, n)
		case err == nil && sum == n:
			honestOutcome.Errorf(s, "an AddUsage returned nil and is not counted")
		case errors.Is(err, backend.ErrNotApplied) && sum != n:
			honestOutcome.Errorf(s, "an AddUsage returned %v and is counted", err)
		case answerIn(err) != nil:
			honestOutcome.Errorf(s, "error is %v, which is an answer", err)
		}
		s.add(m, a...)
		s.tallied(addRepeats, m, "k1", on(today, tally{"a": n + 1}))
	}
}

func usageClosed(s *store) {
	b := s.handle()
	m := s.meter(b)
	s.prepareUsage(m)
	s.close(b)
	for _, call := range meterCalls(m) {
		s.is(rule(fmt.Sprintf("after Close %s returns ErrClosed", call.method)), call.do(s.ctx), backend.ErrClosed)
	}
	s.tallied("what returns ErrClosed has no effect", s.meter(s.handle()), "there", on(today, tally{"a": 1}))
}

func usageOthersGoOn(s *store) {
	first, b, last := s.handle(), s.handle(), s.handle()
	s.prepareUsage(s.meter(first))
	s.close(first)
	m := s.meter(b)
	s.tallied(othersWork, m, "there", on(today, tally{"a": 1}))
	s.close(last)
	for _, call := range meterCalls(m) {
		if err := call.do(s.ctx); err != nil {
			othersWork.Errorf(s, "%s: error is %v", call.method, err)
		}
	}
	s.add(m, adding("there", today, tally{"a": 3}))
	s.tallied(othersWork, m, "there", on(today, tally{"a": 3}))
}

// usageCloseDuringCalls closes the only handle while it is in use, and looks then
// for what was acknowledged. An AddUsage of one addition has no effect if it
// returns ErrClosed.
func usageCloseDuringCalls(s *store) {
	const callers = 6
	total := make([]int64, callers)
	for range 4 {
		b := s.handle()
		m := s.meter(b)
		s.amid(callers, func(i int, called func()) {
			for range 100 {
				called()
				err := m.AddUsage(s.ctx, []backend.Addition{adding(fmt.Sprintf("k%d", i), today, tally{"a": 1})})
				if errors.Is(err, backend.ErrClosed) {
					return
				}
				if err != nil {
					rule("a call during Close returns what it does without, or ErrClosed").Errorf(s, "AddUsage: error is %v", err)
					return
				}
				total[i]++
			}
		}, func() { s.close(b) })

		b = s.handle()
		m = s.meter(b)
		for i, n := range total {
			var want []backend.Tally
			if n > 0 {
				want = append(want, on(today, tally{"a": n}))
			}
			s.tallied("what was acknowledged before Close is counted, and what returns ErrClosed is not", m, fmt.Sprintf("k%d", i), want...)
		}
		s.close(b)
	}
}

func usageReopened(s *store) {
	b := s.handle()
	m := s.meter(b)
	first := adding("k1", today, tally{"a": 3, "l": 1})
	s.add(m, first, addingUntil("k1", dayAfter(-1), now), addingUntil("k2", today, now.Add(time.Hour)), addingUntil("k3", today, now))
	s.add(m, adding("k3", today, tally{"a": 1})) // never
	for turn := range int64(3) {                 // again without a change in between
		b = s.reopened(b)
		m = s.meter(b)
		s.tallied(usageSurvives, m, "k1", on(dayAfter(-1), tally{"a": 1}), on(today, tally{"a": 3 + turn, "l": 1}))
		s.tallied(usageSurvives, m, "k2", on(today, tally{"a": 1}))
		s.add(m, first, adding("k1", today, tally{"a": 1}))
		s.tallied(addRepeats, m, "k1", on(dayAfter(-1), tally{"a": 1}), on(today, tally{"a": 4 + turn, "l": 1}))
	}
	b = s.reopened(b)
	m = s.meter(b)
	if n := s.purgeAllUsage(m, now); n != 1 {
		usagePurged.Errorf(s, "it says %d of 1 that is due", n)
	}
	b = s.reopened(b)
	m = s.meter(b)
	s.tallied("tallies that were purged do not come back", m, "k1", on(today, tally{"a": 6, "l": 1}))
	s.tallied(usageSurvives, m, "k2", on(today, tally{"a": 1}))
	s.tallied(usageSurvives, m, "k3", on(today, tally{"a": 2}))
}
