package conformance

import (
	"fmt"
	"time"

	"example.com/keystore/backend"
)

var reopenChecks = []check{
	{"finds every record", reopenFinds},
	{"finds none that was forgotten", reopenForgets},
	{"goes on as before", reopenGoesOn},
}

const survives = rule("closing all handles and opening again finds the records")

// reopened closes the handles, which are all there are, and opens one again.
func (s *store) reopened(handles ...backend.Backend) backend.Backend {
	s.Helper()
	for _, b := range handles {
		s.close(b)
	}
	return s.handle()
}

func reopenFinds(s *store) {
	a, b := s.handle(), s.handle()
	var want []backend.Record
	for i := range 40 {
		r := s.create(a, backend.Record{
			ID:    fmt.Sprintf("key-%02d", i),
			Owner: fmt.Sprintf("owner-%d", i%3),
			Data:  fmt.Append(nil, "data ", i),
		})
		if i%2 == 0 {
			r.Data, r.PurgeAt = fmt.Append(nil, "new data ", i), now.Add(time.Duration(i)*time.Hour)
			r = s.update(b, r)
		}
		want = append(want, r)
	}
	used := make(map[string]time.Time)
	for i := range want {
		if i%4 < 2 {
			want[i].LastUsed = now.Add(time.Duration(i) * time.Millisecond)
			used[want[i].ID] = want[i].LastUsed
		}
	}
	s.touch(a, used)
	for range 2 { // a second time without a change in between
		a = s.reopened(a, b)
		b = s.handle()
		for _, r := range want {
			s.same(survives, s.get(a, r.ID), r)
		}
		s.listed(survives, s.all(b, ""), idsOf(want, ""))
		for _, owner := range []string{"owner-0", "owner-1", "owner-2"} {
			s.listed(survives, s.all(b, owner), idsOf(want, owner))
		}
	}
}

func reopenForgets(s *store) {
	b := s.handle()
	s.create(b, backend.Record{ID: "deleted", Owner: "alice", Data: []byte("d")})
	kept := s.create(b, backend.Record{ID: "kept", Owner: "alice", Data: []byte("d")})
	s.create(b, backend.Record{ID: "purged", Owner: "alice", Data: []byte("d"), PurgeAt: now})
	b = s.reopened(b)
	s.delete(b, "deleted")
	if n := s.purgeAll(b, now); n != 1 {
		counts.Errorf(s, "it says %d of 1 that is due", n)
	}
	b = s.reopened(b)
	for _, id := range []string{"deleted", "purged"} {
		s.lacks("a record that was deleted or purged does not come back", b, id)
	}
	s.listed(survives, s.all(b, "alice"), []string{kept.ID})
	s.holds(survives, b, kept)
}

// reopenGoesOn makes every kind of change to records of before.
func reopenGoesOn(s *store) {
	b := s.handle()
	given := backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0"), PurgeAt: now.Add(time.Hour)}
	want := s.create(b, given)
	due := s.create(b, backend.Record{ID: "key-2", Owner: "alice", Data: []byte("0"), PurgeAt: now})
	s.touch(b, map[string]time.Time{want.ID: now})
	want.LastUsed = now

	b = s.reopened(b)
	s.ok(createRepeats, b.Create(s.ctx, given))
	other := given
	other.Data = []byte("other")
	s.is(taken, b.Create(s.ctx, other), backend.ErrExists)
	s.touch(b, map[string]time.Time{want.ID: now.Add(-time.Hour)})
	s.holds(survives, b, want)

	changed := want
	changed.Data = []byte("1")
	want = s.update(b, changed)
	b = s.reopened(b)
	s.ok(updateRepeats, b.Update(s.ctx, changed))
	s.holds(survives, b, want)
	if n := s.purgeAll(b, now); n != 1 {
		counts.Errorf(s, "it says %d of 1 that is due", n)
	}
	s.lacks(dueOnly, b, due.ID)
	s.holds(survives, b, want)
}

// idsOf returns the IDs of the records of an owner, or of all if it is "".
func idsOf(records []backend.Record, owner string) []string {
	var ids []string
	for _, r := range records {
		if owner == "" || r.Owner == owner {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
