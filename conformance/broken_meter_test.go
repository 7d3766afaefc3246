package conformance

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

// This file is what the breakages of backend.Meter are made of.

// sharedTallies are those of the stores whose names begin alike.
var sharedTallies sync.Map

// tallyBook is what the handles of one store know of its tallies.
type tallyBook struct {
	purgeAt map[subjectDay]time.Time
	added   map[subjectDay][]uint64
	usage   map[string][]backend.Tally
}

type subjectDay struct {
	subject string
	day     time.Time
}

func newTallyBook() tallyBook {
	return tallyBook{make(map[subjectDay]time.Time), make(map[subjectDay][]uint64), make(map[string][]backend.Tally)}
}

// meterFaults are what a broken Meter does in place of what it should. What is
// nil is sound.
type meterFaults struct {
	subject func(h handle, subject string) string
	addAll  func(ctx context.Context, h handle, all []backend.Addition) error
	add     func(ctx context.Context, h handle, a backend.Addition) error
	usage   func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error)
	purge   func(ctx context.Context, h handle, now time.Time, limit int) (int, error)
}

type brokenMeter struct {
	handle
	faults meterFaults
	closed *atomic.Bool
}

func meterWith(faults meterFaults) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenMeter{h, faults, new(atomic.Bool)} }
}

func subjectsWith(subject func(string) string) func(h handle) backend.Backend {
	return meterWith(meterFaults{subject: func(_ handle, s string) string { return subject(s) }})
}

func addWith(add func(ctx context.Context, h handle, a backend.Addition) error) func(h handle) backend.Backend {
	return meterWith(meterFaults{add: add})
}

func usageWith(usage func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error)) func(h handle) backend.Backend {
	return meterWith(meterFaults{usage: usage})
}

func purgeUsageWith(purge func(ctx context.Context, h handle, now time.Time, limit int) (int, error)) func(h handle) backend.Backend {
	return meterWith(meterFaults{purge: purge})
}

// purgeAtWith chooses between the PurgeAt of a tally and that of an addition.
func purgeAtWith(choose func(old, given time.Time) time.Time) func(h handle) backend.Backend {
	return addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		h.side.Lock()
		old, ok := h.side.purgeAt[subjectDay{a.Subject, a.Day}]
		h.side.Unlock()
		if ok {
			a.PurgeAt = choose(old, a.PurgeAt)
		}
		return h.add(ctx, a)
	})
}

func (b brokenMeter) AddUsage(ctx context.Context, additions []backend.Addition) error {
	if b.faults.subject != nil {
		additions = slices.Clone(additions)
		for i := range additions {
			additions[i].Subject = b.faults.subject(b.handle, additions[i].Subject)
		}
	}
	if b.faults.addAll != nil {
		return b.faults.addAll(ctx, b.handle, additions)
	}
	add := b.faults.add
	if add == nil {
		add = func(ctx context.Context, h handle, a backend.Addition) error { return h.add(ctx, a) }
	}
	for _, a := range additions {
		if err := add(ctx, b.handle, a); err != nil {
			return err
		}
	}
	return b.handle.AddUsage(ctx, nil)
}

func (b brokenMeter) Usage(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	if b.faults.subject != nil {
		subject = b.faults.subject(b.handle, subject)
	}
	if b.faults.usage != nil {
		return b.faults.usage(ctx, b.handle, subject, from, to)
	}
	return b.handle.Usage(ctx, subject, from, to)
}

func (b brokenMeter) PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error) {
	if b.faults.purge != nil {
		return b.faults.purge(ctx, b.handle, now, limit)
	}
	return b.handle.PurgeUsage(ctx, now, limit)
}

func (b brokenMeter) Close() error {
	b.side.closes(b.closed)
	return b.handle.Close()
}

// add makes one addition, and notes its PurgeAt.
func (h handle) add(ctx context.Context, a backend.Addition) error {
	h.side.Lock()
	defer h.side.Unlock()
	err := h.AddUsage(ctx, []backend.Addition{a})
	if err == nil {
		h.side.purgeAt[subjectDay{a.Subject, a.Day}] = a.PurgeAt
	}
	return err
}

// forgetTally forgets a tally, whatever its PurgeAt is.
func (h handle) forgetTally(ctx context.Context, which subjectDay) {
	const longAgo = -1 // ms: no other PurgeAt is before 1970
	gone := backend.Addition{Subject: which.subject, Day: which.day, AddID: rand.Uint64(), PurgeAt: time.UnixMilli(longAgo)}
	h.side.Lock()
	defer h.side.Unlock()
	if h.AddUsage(ctx, []backend.Addition{gone}) == nil {
		h.PurgeUsage(ctx, gone.PurgeAt, backend.MaxLimit)
		delete(h.side.purgeAt, which)
	}
}

// dueTallies returns those whose PurgeAt is set and not after now.
func (h handle) dueTallies(now time.Time) (due []subjectDay) {
	h.side.Lock()
	defer h.side.Unlock()
	for which, at := range h.side.purgeAt {
		tallies, _ := h.store.Open().Usage(context.Background(), which.subject, which.day, which.day.Add(1))
		if len(tallies) > 0 && !at.IsZero() && !at.After(now) {
			due = append(due, which)
		}
	}
	return due
}

// addedElsewhere reports whether the AddID was used for another tally of those
// that are asked for, and notes it.
func (h handle) addedElsewhere(a backend.Addition, of func(which subjectDay) bool) bool {
	h.side.Lock()
	defer h.side.Unlock()
	own := subjectDay{a.Subject, a.Day}
	for which, ids := range h.side.added {
		if which != own && of(which) && slices.Contains(ids, a.AddID) {
			return true
		}
	}
	h.side.added[own] = append(h.side.added[own], a.AddID)
	return false
}
