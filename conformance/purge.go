package conformance

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

var purgeChecks = []check{
	{"what is due and nothing else", purgeDue},
	{"by the time that is given", purgeByGivenTime},
	{"at most limit", purgeLimit},
	{"by the last PurgeAt", purgeMoved},
	{"forgets the record altogether", purgeForgets},
	{"a new record under the ID", purgeSparesNewRecord},
	{"at the same time", purgeAtOnce},
	{"against an Update that extends", purgeAgainstUpdate},
}

const (
	beforeOrStays = rule("a record whose PurgeAt moves past now at the same time either goes before the move or stays")
	countOnce     = rule("Purges at the same time count each record once")
	dueOnly       = rule("Purge deletes records whose PurgeAt is set and not after now")
	counts        = rule("Purge returns how many it deleted")
	noneLeft      = rule("none deleted means that none is left")
)

func purgeDue(s *store) {
	b := s.handle()
	purgeAt := map[string]time.Time{
		"due-1970":   time.UnixMilli(0).UTC(),
		"due-before": now.Add(-time.Millisecond),
		"due-now":    now,
		"later":      now.Add(time.Millisecond),
		"much-later": time.Date(8888, time.December, 31, 23, 59, 59, 0, time.UTC),
		"never":      {},
	}
	for id, at := range purgeAt {
		s.create(b, backend.Record{ID: id, Owner: "alice", Data: []byte("d"), PurgeAt: at})
	}
	if n := s.purgeAll(b, now); n != 3 {
		counts.Errorf(s, "it says %d of 3 that are due", n)
	}
	for _, owner := range []string{"", "alice"} {
		s.listed(dueOnly, s.all(b, owner), []string{"later", "much-later", "never"})
	}
	for _, id := range []string{"due-1970", "due-before", "due-now"} {
		s.lacks(dueOnly, b, id)
	}
	if n := s.purge(b, now, 10); n != 0 {
		counts.Errorf(s, "it says %d with none left", n)
	}
}

// purgeByGivenTime goes through the times at which numbers of milliseconds get
// one more digit or bit, in the past and in the future of any clock.
func purgeByGivenTime(s *store) {
	b := s.handle()
	steps := []int64{0, 1, 9, 10, 999, 1000, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1e12 - 1, 1e12, 1<<41 - 1, 1 << 41, 1e13 - 1, 1e13, 1e14}
	ids := make([]string, len(steps))
	for i, ms := range steps {
		ids[i] = fmt.Sprintf("key-%02d", i)
		s.create(b, backend.Record{ID: ids[i], Owner: "alice", Data: []byte("d"), PurgeAt: time.UnixMilli(ms).UTC()})
	}
	for i, ms := range steps {
		s.listed(dueOnly, s.all(b, ""), ids[i:])
		if n := s.purgeAll(b, time.UnixMilli(ms).UTC()); n != 1 {
			counts.Errorf(s, "it says %d of 1 that is due at %d ms", n, ms)
		}
	}
	s.listed(dueOnly, s.all(b, ""), nil)
}

func purgeLimit(s *store) {
	b := s.handle()
	const due = 10
	for i := range due {
		s.create(b, backend.Record{ID: fmt.Sprintf("due-%d", i), Owner: "alice", Data: []byte("d"), PurgeAt: now.Add(-time.Duration(i) * time.Hour)})
		s.create(b, backend.Record{ID: fmt.Sprintf("kept-%d", i), Owner: "alice", Data: []byte("d"), PurgeAt: now.Add(time.Duration(i+1) * time.Hour)})
	}
	for _, limit := range []int{1, 3, 2, 3, 1} {
		before := len(s.all(b, ""))
		n := s.purge(b, now, limit)
		gone := before - len(s.all(b, ""))
		if gone > limit {
			rule("Purge deletes at most limit records").Fatalf(s, "%d are gone at a limit of %d", gone, limit)
		}
		if n != gone {
			counts.Fatalf(s, "it says %d, but %d are gone", n, gone)
		}
		if n == 0 && before > due {
			noneLeft.Errorf(s, "it says none, but %d are", before-due)
		}
	}
	s.purgeAll(b, now)
	if left := len(s.all(b, "")); left != due {
		noneLeft.Errorf(s, "%d records are left, want the %d that are not due", left, due)
	}
}

func purgeMoved(s *store) {
	b := s.handle()
	moves := []struct {
		id       string
		from, to time.Time
		due      bool
	}{
		{"cleared", now, time.Time{}, false},
		{"extended", now, now.Add(time.Millisecond), false},
		{"set", time.Time{}, now, true},
		{"shortened", now.Add(time.Hour), now, true},
		{"unmoved", now.Add(-time.Hour), now.Add(-time.Hour), true},
	}
	var kept []string
	for _, m := range moves {
		r := s.create(b, backend.Record{ID: m.id, Owner: "alice", Data: []byte("0"), PurgeAt: m.from})
		r.Data, r.PurgeAt = []byte("1"), m.to
		s.update(b, r)
		s.touch(b, map[string]time.Time{m.id: now.Add(-time.Minute)})
		if !m.due {
			kept = append(kept, m.id)
		}
	}
	if n := s.purgeAll(b, now); n != len(moves)-len(kept) {
		counts.Errorf(s, "it says %d of %d that are due", n, len(moves)-len(kept))
	}
	s.listed("Purge goes by the PurgeAt that the last Update set", s.all(b, ""), kept)
}

func purgeForgets(s *store) {
	const r = rule("a purged record is gone")
	b := s.handle()
	old := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d"), PurgeAt: now})
	s.touch(b, map[string]time.Time{old.ID: now})
	if n := s.purgeAll(b, now); n != 1 {
		counts.Errorf(s, "it says %d of 1 that is due", n)
	}
	s.lacks(r, b, old.ID)
	s.listed(r, s.all(b, "alice"), nil)
	old.Data, old.PurgeAt = []byte("late"), time.Time{}
	s.is(updateMissing, b.Update(s.ctx, old), backend.ErrNotFound)
	s.touch(b, map[string]time.Time{old.ID: now.Add(time.Hour)})
	s.lacks(r, b, old.ID)
	s.delete(b, old.ID)
}

// purgeSparesNewRecord creates records under IDs whose former records were due:
// what a store noted of those must not be held against these.
func purgeSparesNewRecord(s *store) {
	b := s.handle()
	for _, end := range []func(id string){
		func(id string) { s.delete(b, id) },
		func(string) { s.purgeAll(b, now) },
	} {
		for _, at := range []time.Time{{}, now.Add(time.Hour)} {
			s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("old"), PurgeAt: now})
			end("key-1")
			fresh := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("new"), PurgeAt: at})
			if n := s.purgeAll(b, now); n != 0 {
				dueOnly.Errorf(s, "it deleted %d, and none was due", n)
			}
			s.holds(dueOnly, b, fresh)
			s.delete(b, "key-1")
		}
	}
}

func purgeAtOnce(s *store) {
	handles := s.handles(3)
	const due = 60
	for i := range due {
		s.create(handles[0], backend.Record{ID: fmt.Sprintf("key-%02d", i), Owner: "alice", Data: []byte("d"), PurgeAt: now})
	}
	var total atomic.Int64
	s.together(8, func(i int) {
		for range due + 1 {
			n, err := handles[i%3].Purge(s.ctx, now, 5)
			if err != nil {
				counts.Errorf(s, "error is %v", err)
			}
			if n == 0 || err != nil {
				return
			}
			total.Add(int64(n))
		}
	})
	if left := len(s.all(handles[0], "")); left > 0 {
		noneLeft.Errorf(s, "every Purge has come to an end, and %d records that are due are left", left)
	}
	if total.Load() != due {
		countOnce.Errorf(s, "together they say %d of %d", total.Load(), due)
	}
}

// purgeAgainstUpdate extends records while they are purged. Whether one is
// purged or extended is open, but both parties must say the same.
func purgeAgainstUpdate(s *store) {
	handles := s.handles(3)
	const rounds, each, purgers = 12, 8, 2
	for round := 0; round < rounds && !s.Failed(); round++ {
		var records [each]backend.Record
		var outcome [each]error
		for i := range each {
			records[i] = s.create(handles[0], backend.Record{ID: fmt.Sprintf("key-%02d-%d", round, i), Owner: "alice", Data: []byte("0"), PurgeAt: now})
			records[i].Data = []byte("1")
			if i%2 == 0 {
				records[i].PurgeAt = now.Add(time.Hour)
			} else {
				records[i].PurgeAt = time.Time{}
			}
		}
		var purged atomic.Int64
		s.together(each+purgers, func(i int) {
			if i < each {
				outcome[i] = handles[i%2].Update(s.ctx, records[i])
				return
			}
			for range each + 1 {
				n, err := handles[2].Purge(s.ctx, now, 3)
				if err != nil {
					counts.Errorf(s, "error is %v", err)
				}
				if n == 0 || err != nil {
					return
				}
				purged.Add(int64(n))
			}
		})
		notFound := 0
		for i, err := range outcome {
			want := records[i]
			switch {
			case err == nil:
				want.Revision++
				s.holds(beforeOrStays, handles[0], want)
			case errors.Is(err, backend.ErrNotFound):
				notFound++
				s.lacks(beforeOrStays, handles[0], want.ID)
			default:
				beforeOrStays.Errorf(s, "Update returns error %v, want none or %v", err, backend.ErrNotFound)
			}
		}
		if int(purged.Load()) != notFound {
			beforeOrStays.Errorf(s, "Purge says %d, but %d Updates found none", purged.Load(), notFound)
		}
	}
}
