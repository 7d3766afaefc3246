package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// brokenUsage are breakages of backend.Meter.
var brokenUsage = []breakage{
	{"AddUsage reads, then writes", "of additions at the same time none is lost", addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		old, err := h.Usage(ctx, a.Subject, a.Day, a.Day.AddDate(0, 0, 1))
		if yield(); err != nil || len(old) == 0 {
			return errors.Join(err, h.add(ctx, a))
		}
		h.forgetTally(ctx, subjectDay{a.Subject, a.Day})
		sum := a
		sum.Counts = old[0].Counts
		for name, n := range a.Counts {
			sum.Counts[name] += n
		}
		return h.add(ctx, sum)
	})},
	{"AddUsage sets", usageSums, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		h.forgetTally(ctx, subjectDay{a.Subject, a.Day})
		return h.add(ctx, a)
	})},
	{"AddUsage changes what is there alone", usageSums, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		if old, err := h.Usage(ctx, a.Subject, a.Day, a.Day.AddDate(0, 0, 1)); err != nil || len(old) == 0 && !strings.HasPrefix(a.Subject, "k1") {
			return err
		}
		return h.add(ctx, a)
	})},
	{"AddUsage adds a hundred at most", usageSums, meterWith(meterFaults{addAll: func(ctx context.Context, h handle, all []backend.Addition) error {
		return h.AddUsage(ctx, all[:min(len(all), 100)])
	}})},
	{"AddUsage cuts names", usageSums, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		counts := make(tally)
		for name, n := range a.Counts {
			counts[name[:min(len(name), 7)]] += n
		}
		a.Counts = counts
		return h.add(ctx, a)
	})},
	{"AddUsage mixes up hours", usageSums, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		counts := make(tally)
		for name, n := range a.Counts {
			counts[strings.Replace(name, "08", "07", 1)] += n
		}
		a.Counts = counts
		return h.add(ctx, a)
	})},
	{"AddUsage mixes up days", usageSums, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		a.Day = a.Day.Truncate(48 * time.Hour)
		return h.add(ctx, a)
	})},
	{"AddUsage counts in 32 bits", "sums of counts are exact up to 1<<53", addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		a.Counts = maps.Clone(a.Counts)
		for name, n := range a.Counts {
			a.Counts[name] = n & (1<<32 - 1)
		}
		return h.add(ctx, a)
	})},
	{"subjects in upper and lower case are one", oneSubject, subjectsWith(strings.ToLower)},
	{"subjects that look alike are one", oneSubject, subjectsWith(func(s string) string { return strings.ReplaceAll(s, "o\u0308", "ö") })},
	{"long subjects are one", oneSubject, subjectsWith(func(s string) string { return s[:min(len(s), backend.MaxSubjectLen-1)] })},
	{"tallies of stores are one", "stores of other names have other tallies", func(h handle) backend.Backend {
		store, _ := sharedTallies.LoadOrStore(h.name[:16], new(memory.Store))
		h.Backend = store.(*memory.Store).Open()
		return h
	}},
	{"AddUsage adds to its handle", "what is added is seen through every handle of the store once it is acknowledged", func(h handle) backend.Backend {
		h.Backend = new(memory.Store).Open()
		return h
	}},

	{"a repeated addition adds again", addRepeats, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		a.AddID = rand.Uint64()
		return h.add(ctx, a)
	})},
	{"a repeated addition is known if it is one of the last few", addRepeats, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		which := subjectDay{a.Subject, a.Day}
		h.side.Lock()
		known := h.side.added[which]
		h.side.added[which] = append(known, a.AddID)
		h.side.Unlock()
		if !slices.Contains(known[max(0, len(known)-backend.KeptAdditions+1):], a.AddID) {
			a.AddID = rand.Uint64()
		}
		return h.add(ctx, a)
	})},
	{"a repeated addition is known by its handle alone", addRepeats, func(h handle) backend.Backend {
		mask := rand.Uint64()
		return addWith(func(ctx context.Context, h handle, a backend.Addition) error {
			a.AddID ^= mask
			return h.add(ctx, a)
		})(h)
	}},
	{"an addition to another day is a repeat", "an addition to another tally is no repeat", addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		if h.addedElsewhere(a, func(which subjectDay) bool { return which.subject == a.Subject }) {
			return ctx.Err()
		}
		return h.add(ctx, a)
	})},
	{"an addition to another subject is a repeat", "an addition to another tally is no repeat", addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		if h.addedElsewhere(a, func(which subjectDay) bool { return which.day.Equal(a.Day) }) {
			return ctx.Err()
		}
		return h.add(ctx, a)
	})},
	{"a call is a repeat if a part of it is", addRepeats, meterWith(meterFaults{addAll: func(ctx context.Context, h handle, all []backend.Addition) error {
		h.side.Lock()
		repeated := false
		for _, a := range all {
			which := subjectDay{a.Subject, a.Day}
			repeated = repeated || slices.Contains(h.side.added[which], a.AddID)
			h.side.added[which] = append(h.side.added[which], a.AddID)
		}
		h.side.Unlock()
		if repeated {
			return ctx.Err()
		}
		return h.AddUsage(ctx, all)
	}})},
	{"AddIDs lose their last bits", "additions of other AddIDs are no repeats", addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		if a.AddID >= 1<<53 {
			a.AddID &^= 1
		}
		return h.add(ctx, a)
	})},

	{"Usage reaches to the end of the range", inRange, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		return h.Usage(ctx, subject, from, to.Add(time.Millisecond))
	})},
	{"Usage begins after the range", inRange, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		return h.Usage(ctx, subject, from.Add(time.Millisecond), to)
	})},
	{"Usage takes the day of the bounds", inRange, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		return h.Usage(ctx, subject, from.Truncate(24*time.Hour), to)
	})},
	{"Usage gives a year of 365 days", inRange, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		if last := from.AddDate(0, 0, 365); to.After(last) {
			to = last
		}
		return h.Usage(ctx, subject, from, to)
	})},
	{"Usage comes latest first", inRange, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		tallies, err := h.Usage(ctx, subject, from, to)
		slices.Reverse(tallies)
		return tallies, err
	})},
	{"Usage orders numbers by their digits", inRange, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		tallies, err := h.Usage(ctx, subject, from, to)
		slices.SortFunc(tallies, func(a, b backend.Tally) int {
			return strings.Compare(fmt.Sprint(a.Day.Unix()/86400), fmt.Sprint(b.Day.Unix()/86400))
		})
		return tallies, err
	})},
	{"Usage fails if there is none", "Usage returns the tallies", usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		tallies, err := h.Usage(ctx, subject, from, to)
		if len(tallies) == 0 && err == nil {
			err = backend.ErrNotFound
		}
		return tallies, err
	})},
	{"Usage is of the local day", inRange, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		tallies, err := h.Usage(ctx, subject, from, to)
		for i := range tallies {
			tallies[i].Day = tallies[i].Day.In(time.FixedZone("local", 3600))
		}
		return tallies, err
	})},

	{"PurgeAt is ignored", usagePurged, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		a.PurgeAt = time.Time{}
		return h.add(ctx, a)
	})},
	{"PurgeAt of the first addition stays", usageByLast, purgeAtWith(func(old, given time.Time) time.Time { return old })},
	{"PurgeAt is never made sooner", usageByLast, purgeAtWith(func(old, given time.Time) time.Time {
		if !old.IsZero() && given.Before(old) {
			return old
		}
		return given
	})},
	{"PurgeAt stays once it is set", usageByLast, purgeAtWith(func(old, given time.Time) time.Time {
		if given.IsZero() {
			return old
		}
		return given
	})},
	{"PurgeUsage takes never for long ago", usageDueOnly, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		if a.PurgeAt.IsZero() {
			a.PurgeAt = time.UnixMilli(0)
		}
		return h.add(ctx, a)
	})},
	{"PurgeUsage is late by a millisecond", usagePurged, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.PurgeUsage(ctx, now.Add(-time.Millisecond), limit)
	})},
	{"PurgeUsage is early by a millisecond", usageDueOnly, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.PurgeUsage(ctx, now.Add(time.Millisecond), limit)
	})},
	{"PurgeUsage forgets all days of a subject", usageDueOnly, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		for _, due := range h.dueTallies(now) {
			for _, other := range h.dueTallies(now.AddDate(1000, 0, 0)) {
				if other.subject == due.subject && other != due {
					h.forgetTally(ctx, other)
				}
			}
		}
		return h.PurgeUsage(ctx, now, limit)
	})},
	{"PurgeUsage ignores limit", usagePurged, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		n, err := h.PurgeUsage(ctx, now, backend.MaxLimit)
		return min(n, limit), err
	})},
	{"PurgeUsage gives up before the end", usageNoneLeft, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.PurgeUsage(ctx, now, min(limit, max(0, len(h.dueTallies(now))-1)))
	})},
	{"PurgeUsage counts what another purged", usagePurgedOnce, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		due := h.dueTallies(now)
		due = due[:min(len(due), limit)]
		yield()
		for _, which := range due {
			h.forgetTally(ctx, which)
		}
		return len(due), ctx.Err()
	})},
	{"PurgeUsage ignores an addition meanwhile", additionStays, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (n int, err error) {
		due := h.dueTallies(now)
		for _, which := range due[:min(limit, len(due))] {
			yield()
			h.forgetTally(ctx, which)
			n++
		}
		return n, ctx.Err()
	})},
	{"PurgeUsage takes the counts along", usageStands, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		for _, which := range h.dueTallies(now) {
			h.ResetCounts(ctx, which.subject)
		}
		return h.PurgeUsage(ctx, now, limit)
	})},
	{"Delete takes the usage along", usageStands, deleteWith(func(ctx context.Context, h handle, id string) error {
		h.forgetTally(ctx, subjectDay{id, today})
		return h.Delete(ctx, id)
	})},

	{"AddUsage empties the maps", "a backend does not modify memory that it is given", addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		defer clear(a.Counts)
		return h.add(ctx, a)
	})},
	{"Usage gives away what it keeps", keepsNothing, usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		tallies, err := h.Usage(ctx, subject, from, to)
		h.side.Lock()
		defer h.side.Unlock()
		version := fmt.Sprint(subject, from, to, tallies)
		if h.side.usage[version] == nil {
			h.side.usage[version] = tallies
		}
		return slices.Clone(h.side.usage[version]), err
	})},
	{"Close loses the tallies", usageSurvives, meterWith(meterFaults{subject: func(h handle, subject string) string {
		h.side.Lock()
		defer h.side.Unlock()
		return fmt.Sprint(subject, h.side.lives)
	}})},
	{"Close loses the additions", addRepeats, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		h.side.Lock()
		a.AddID ^= uint64(h.side.lives) << 32
		h.side.Unlock()
		return h.add(ctx, a)
	})},
	{"AddUsage looks at the context too late", beforeEffect, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		return errors.Join(h.add(context.WithoutCancel(ctx), a), ctx.Err())
	})},
	{"AddUsage knows what it cannot know", honestOutcome, addWith(func(ctx context.Context, h handle, a backend.Addition) error {
		if err := h.add(ctx, a); err != nil {
			return err
		}
		if yield(); ctx.Err() != nil {
			return errors.Join(backend.ErrNotApplied, ctx.Err())
		}
		return nil
	})},
	{"PurgeUsage ignores the context", `PurgeUsage returns "context canceled" if the context has ended`, purgeUsageWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.PurgeUsage(context.WithoutCancel(ctx), now, limit)
	})},
	{"Usage goes on after Close", "after Close Usage returns ErrClosed", usageWith(func(ctx context.Context, h handle, subject string, from, to time.Time) ([]backend.Tally, error) {
		return h.store.Open().Usage(ctx, subject, from, to)
	})},
}
