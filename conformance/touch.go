package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

var touchChecks = []check{
	{"raises and never lowers", touchRaises},
	{"skips unknown IDs", touchSkips},
	{"leaves the rest alone", touchLeavesAlone},
	{"nothing to touch", touchNothing},
	{"many at once", touchMany},
	{"at the same time", touchAtOnce},
	{"against Update", touchAgainstUpdate},
	{"against Delete", touchAgainstDelete},
}

const (
	noReturn       = rule("Touch does not bring back a deleted record")
	bothTakeEffect = rule("Touch and Update at the same time both take effect")
)

func touchRaises(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d")})
	for _, at := range []time.Time{
		{},
		time.UnixMilli(0).UTC(), // later than never
		time.UnixMilli(1).UTC(),
		now,
		now.Add(-time.Millisecond),
		now.Add(time.Millisecond),
		now,
		{},
		time.UnixMilli(0).UTC(),
		now.Add(time.Hour),
		now.Add(time.Hour),
	} {
		r := rule("Touch raises LastUsed")
		if at.After(want.LastUsed) {
			want.LastUsed = at
		} else {
			r = "Touch never lowers LastUsed"
		}
		s.touch(b, map[string]time.Time{want.ID: at})
		s.holds(r, b, want)
	}
}

func touchSkips(s *store) {
	const r = rule("Touch skips unknown IDs and creates nothing")
	b := s.handle()
	known := []backend.Record{
		s.create(b, backend.Record{ID: "a-known", Owner: "alice", Data: []byte("d")}),
		s.create(b, backend.Record{ID: "z-known", Owner: "alice", Data: []byte("d")}),
	}
	s.create(b, backend.Record{ID: "deleted", Owner: "alice", Data: []byte("d")})
	s.delete(b, "deleted")
	s.create(b, backend.Record{ID: "purged", Owner: "alice", Data: []byte("d"), PurgeAt: now})
	s.purgeAll(b, now)

	s.touch(b, map[string]time.Time{"a-known": now, "deleted": now, "never": now, "purged": now, "z-known": now, "A-KNOWN": now})
	for _, id := range []string{"deleted", "never", "purged", "A-KNOWN"} {
		s.lacks(r, b, id)
	}
	for _, want := range known {
		want.LastUsed = now
		s.holds("Touch raises LastUsed", b, want)
	}
	s.touch(b, map[string]time.Time{"never": now})
	s.listed(r, s.all(b, ""), []string{"a-known", "z-known"})

	fresh := s.create(b, backend.Record{ID: "never", Owner: "alice", Data: []byte("d")})
	s.holds("Create stores the record with a zero LastUsed", b, fresh)
}

func touchLeavesAlone(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("first"), PurgeAt: now})
	other := s.create(b, backend.Record{ID: "key-2", Owner: "bob", Data: []byte("other")})
	for i := range 3 {
		at := now.Add(time.Duration(i) * time.Hour)
		s.touch(b, map[string]time.Time{want.ID: at})
		got := s.get(b, want.ID)
		if got.Revision != want.Revision {
			rule("Touch leaves the revision alone").Errorf(s, "revision is %d, want %d", got.Revision, want.Revision)
		}
		want.LastUsed = at
		want.Revision = got.Revision // said once
		s.holds("Touch changes nothing but LastUsed", b, want)
	}
	s.holds("Touch changes no other record", b, other)
	want.Revision = 1
	want.Data = []byte("second")
	s.holds("Update after Touch finds the revision as it was", b, s.update(b, want))
	if n := s.purgeAll(b, now); n != 1 {
		rule("Touch leaves PurgeAt alone").Errorf(s, "Purge deleted %d records, want 1", n)
	}
}

func touchNothing(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d")})
	s.touch(b, nil)
	s.touch(b, map[string]time.Time{})
	s.holds("Touch of nothing changes nothing", b, want)
}

func touchMany(s *store) {
	b := s.handle()
	used := make(map[string]time.Time)
	for i := range 250 {
		id := fmt.Sprintf("key-%03d", i)
		s.create(b, backend.Record{ID: id, Owner: "alice", Data: []byte(id)})
		used[id] = now.Add(time.Duration(i) * time.Millisecond)
	}
	s.touch(b, used)
	for _, r := range s.all(b, "") {
		want := backend.Record{ID: r.ID, Owner: "alice", Data: []byte(r.ID), LastUsed: used[r.ID], Revision: 1}
		s.same("Touch raises LastUsed of each ID in used", r, want)
	}
}

func touchAtOnce(s *store) {
	handles := s.handles(3)
	want := s.create(handles[0], backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d")})
	for round := 0; round < 10 && !s.Failed(); round++ {
		start := now.Add(time.Duration(round) * time.Hour)
		order := rand.Perm(16)
		s.together(len(order), func(i int) {
			at := start.Add(time.Duration(order[i]) * time.Second)
			if err := handles[i%3].Touch(s.ctx, map[string]time.Time{want.ID: at}); err != nil {
				rule("Touch returns nil").Errorf(s, "error is %v", err)
			}
		})
		want.LastUsed = start.Add(15 * time.Second)
		s.holds("Touches at the same time end at the latest", handles[0], want)
	}
}

func touchAgainstUpdate(s *store) {
	handles := s.handles(2)
	const records = 8
	want := make([]backend.Record, records)
	for i := range want {
		want[i] = s.create(handles[0], backend.Record{ID: fmt.Sprintf("key-%d", i), Owner: "alice", Data: []byte("0")})
	}
	for round := 0; round < 12 && !s.Failed(); round++ {
		at := now.Add(time.Duration(round) * time.Second)
		for i := range want {
			want[i].Data, want[i].PurgeAt = fmt.Append(nil, "round ", round), at.Add(time.Hour)
		}
		s.together(2*records, func(i int) {
			r, b := want[i/2], handles[(i+i/2)%2]
			if i%2 == 0 {
				if err := b.Update(s.ctx, r); err != nil {
					rule("Touch makes no Update fail").Errorf(s, "error is %v", err)
				}
			} else if err := b.Touch(s.ctx, map[string]time.Time{r.ID: at}); err != nil {
				rule("Touch returns nil").Errorf(s, "error is %v", err)
			}
		})
		for i := range want {
			want[i].Revision++
			want[i].LastUsed = at
			s.same(bothTakeEffect, s.get(handles[0], want[i].ID), want[i])
		}
	}
}

func touchAgainstDelete(s *store) {
	handles := s.handles(2)
	for round := 0; round < 25 && !s.Failed(); round++ {
		id := fmt.Sprintf("key-%d", round)
		s.create(handles[0], backend.Record{ID: id, Owner: "alice", Data: []byte("d"), PurgeAt: now})
		var deleted atomic.Bool
		s.amid(4, func(i int, calls func()) {
			for n := 0; n < 20 && !deleted.Load(); n++ {
				calls()
				if err := handles[i%2].Touch(s.ctx, map[string]time.Time{id: now.Add(time.Duration(n*5+i) * time.Second)}); err != nil {
					rule("Touch returns nil").Errorf(s, "error is %v", err)
				}
			}
		}, func() {
			if err := s.end(handles[0], id, round); err != nil {
				rule("Delete and Purge return nil").Errorf(s, "error is %v", err)
			}
			deleted.Store(true)
		})
		s.lacks(noReturn, handles[0], id)
	}
}

// end makes away with the record, which is due: by Delete and by Purge in turn.
func (s *store) end(b backend.Backend, id string, round int) error {
	if round%2 == 0 {
		return b.Delete(s.ctx, id)
	}
	_, err := b.Purge(s.ctx, now, backend.MaxLimit)
	if err == nil {
		if _, err := b.Get(s.ctx, id); !errors.Is(err, backend.ErrNotFound) {
			rule("Purge deletes what is due, also while it is touched").Errorf(s, "Get returns error %v", err)
		}
	}
	return err
}
