package keystore

import (
	"context"
	"errors"
	"iter"
	"time"

	"example.com/keystore/backend"
)

const (
	day = 24 * time.Hour

	usagePage = 100 * day // of tallies in one backend call
	usageSpan = 366 * day // that is read where no beginning is given and usage is kept for ever
)

// Usage is how many lookups there were in an hour or on a day, by how they ended.
// Lookups that failed otherwise are not counted: their secret was wrong, their key
// not in use, or the store failed.
type Usage struct {
	Start        time.Time `json:"start"`         // of the hour or day, UTC
	Allowed      uint64    `json:"allowed"`       // that succeeded
	Limited      uint64    `json:"limited"`       // ErrRateLimited
	MissingScope uint64    `json:"missing_scope"` // ErrMissingScope
	Cost         uint64    `json:"cost"`          // of the allowed ones: LookupParams.Cost, 1 each where nothing else was said
}

// Add returns the sum of two, which begins as u does.
func (u Usage) Add(other Usage) Usage {
	u.Allowed += other.Allowed
	u.Limited += other.Limited
	u.MissingScope += other.MissingScope
	u.Cost += other.Cost
	return u
}

// Usage yields the hours that begin in [from, to) and have counts of the key,
// ascending. A zero from means as far back as Options.UsageRetention, or 366 days;
// a zero to, now. Counts of this Keystore are up to date; those of others lag by
// their Options.UsageInterval. They outlive the key: an id that does not exist has
// none, and that is no error.
//
// An error is the last thing it yields: ErrInvalid for a time outside the years
// 1970 to 8888 or a backend that keeps no usage; ErrUnavailable, ErrClosed.
func (s *Keystore) Usage(ctx context.Context, id string, from, to time.Time) iter.Seq2[Usage, error] {
	return s.usageOf(ctx, "usage", id, keySubject+id, from, to)
}

// OwnerUsage is Usage for all keys of an owner together, those that were deleted
// included.
func (s *Keystore) OwnerUsage(ctx context.Context, owner string, from, to time.Time) iter.Seq2[Usage, error] {
	if err := checkOwner(owner); err != nil {
		return failed(err)
	}
	return s.usageOf(ctx, "owner_usage", "", ownerSubject+owner, from, to)
}

// ByDay sums the usage of the hours of each UTC day.
func ByDay(hours iter.Seq2[Usage, error]) iter.Seq2[Usage, error] {
	return func(yield func(Usage, error) bool) {
		var sum Usage
		for u, err := range hours {
			start := u.Start.Truncate(day)
			if err == nil && start.Equal(sum.Start) {
				sum = sum.Add(u)
				continue
			}
			if !sum.Start.IsZero() && !yield(sum, nil) {
				return
			}
			if err != nil {
				yield(Usage{}, err)
				return
			}
			sum, sum.Start = u, start
		}
		if !sum.Start.IsZero() {
			yield(sum, nil)
		}
	}
}

// CanMeter reports whether usage is counted: whether the backend is a
// backend.Meter, and Options.UsageInterval is not Never.
func (s *Keystore) CanMeter() bool { return s.usage.on }

func failed(err error) iter.Seq2[Usage, error] {
	return func(yield func(Usage, error) bool) { yield(Usage{}, err) }
}

func (s *Keystore) usageOf(ctx context.Context, name, id, subject string, from, to time.Time) iter.Seq2[Usage, error] {
	return func(yield func(Usage, error) bool) {
		ctx, end := s.begin(ctx, name, id)
		err := ErrPanicked
		defer func() { end(err) }()
		if err = s.readUsage(ctx, subject, from, to, func(u Usage) bool { return yield(u, nil) }); err != nil {
			yield(Usage{}, err)
		}
	}
}

// readUsage calls yield with the hours of a subject until it returns false.
func (s *Keystore) readUsage(ctx context.Context, subject string, from, to time.Time, yield func(Usage) bool) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if s.meter == nil {
		return invalid("usage", "the backend keeps none: it is no backend.Meter")
	}
	from, to, err := s.usageRange(from, to)
	if err != nil || !validSubject(subject) {
		return err
	}
	if err := s.flushBefore(ctx); err != nil {
		return err
	}
	for first := from.Truncate(day); first.Before(to); first = first.Add(usagePage) {
		last := first.Add(usagePage)
		if last.After(to) {
			last = to.Add(day - 1).Truncate(day)
		}
		tallies, err := s.tallies(ctx, subject, first, last)
		if err != nil {
			return err
		}
		for _, t := range tallies {
			for _, u := range hoursOf(t) {
				if !u.Start.Before(from) && u.Start.Before(to) && !yield(u) {
					return nil
				}
			}
		}
	}
	return nil
}

// flushBefore writes what this keystore has counted, so that it is read too. Close
// does not wait for it: it writes the rest itself.
func (s *Keystore) flushBefore(ctx context.Context) error {
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	err := s.flushUsage(during, s.opts.OpTimeout)
	switch {
	case err == nil:
		return nil
	case s.closed.Load():
		return ErrClosed
	}
	return s.unavailable(ctx, "usage", err)
}

func (s *Keystore) usageRange(from, to time.Time) (time.Time, time.Time, error) {
	now := s.now()
	if to.IsZero() {
		to = now.Add(1) // with the hour that has just begun
	}
	if from.IsZero() {
		span := s.opts.UsageRetention
		if span == Never {
			span = usageSpan
		}
		if from = to.Add(-span); from.Before(firstTime) {
			from = firstTime
		}
	}
	for _, t := range []struct {
		field string
		at    time.Time
	}{{"from", from}, {"to", to}} {
		if !inRange(t.at) {
			return from, to, invalid(t.field, "it is outside the years 1970 to 8888")
		}
	}
	return from.UTC(), to.UTC(), nil
}

// tallies is one backend call. It checks the answer: what is read is billed.
func (s *Keystore) tallies(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	op := s.bound(ctx)
	defer op.end()
	tallies, err := s.meter.Usage(op, subject, from, to)
	if err != nil {
		return nil, s.unavailable(ctx, "usage", err)
	}
	next := from
	for _, t := range tallies {
		if t.Day.Before(next) || !t.Day.Before(to) {
			return nil, s.unavailable(ctx, "usage", errors.New("the backend's tallies are out of order"))
		}
		next = t.Day.Add(1)
	}
	return tallies, nil
}
