package conformance

import (
	"time"

	"example.com/keystore/backend"
)

var repeatChecks = []check{
	{"Create", repeatedCreate},
	{"Create of something else", otherCreate},
	{"Create after Update", createAfterUpdate},
	{"Create after Delete", createAfterDelete},
	{"Update", repeatedUpdate},
	{"Update of something else", otherUpdate},
	{"Update two revisions later", overtakenUpdate},
	{"the same write at once", sameWriteAtOnce},
}

const (
	createRepeats = rule("Create of a record that is stored at Revision 1 with the same Owner, Data and PurgeAt returns nil")
	updateRepeats = rule("Update where the stored Revision is r.Revision+1 with the same Data and PurgeAt returns nil")
	repeatIsIdle  = rule("a repeat changes nothing")
	taken         = rule("Create returns ErrExists if the ID is taken")
	conflict      = rule("Update returns ErrConflict if the stored Revision is not r.Revision")
	failureIsIdle = rule("a write that fails changes nothing")
)

func repeatedCreate(s *store) {
	b := s.handle()
	contents := []backend.Record{
		{ID: "plain", Owner: "alice", Data: []byte("d")},
		{ID: "purged", Owner: "alice", Data: []byte("d"), PurgeAt: now},
		{ID: "empty", Owner: "alice", Data: []byte{}, PurgeAt: time.UnixMilli(0).UTC()},
	}
	for _, r := range contents {
		want := s.create(b, r)
		r.Revision, r.LastUsed = 9, now // are ignored as the first time
		s.ok(createRepeats, b.Create(s.ctx, r))
		s.holds(repeatIsIdle, b, want)

		s.touch(b, map[string]time.Time{r.ID: now})
		want.LastUsed = now
		s.ok(createRepeats, b.Create(s.ctx, r))
		s.holds(repeatIsIdle, b, want)
	}
	for _, owner := range []string{"", "alice"} {
		s.listed(repeatIsIdle, s.all(b, owner), []string{"empty", "plain", "purged"})
	}
}

func otherCreate(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d"), PurgeAt: now})
	others := []backend.Record{
		{ID: "key-1", Owner: "alice", Data: []byte("other"), PurgeAt: now},
		{ID: "key-1", Owner: "alice", Data: nil, PurgeAt: now},
		{ID: "key-1", Owner: "bob", Data: []byte("d"), PurgeAt: now},
		{ID: "key-1", Owner: "alice", Data: []byte("d"), PurgeAt: now.Add(time.Millisecond)},
		{ID: "key-1", Owner: "alice", Data: []byte("d")},
		{ID: "key-1", Owner: "alice", Data: []byte("d"), PurgeAt: time.UnixMilli(0).UTC()},
	}
	for _, r := range others {
		s.is(taken, b.Create(s.ctx, r), backend.ErrExists)
		s.holds(failureIsIdle, b, want)
	}
	s.listed(failureIsIdle, s.all(b, "bob"), nil)
}

func createAfterUpdate(s *store) {
	b := s.handle()
	created := backend.Record{ID: "key-1", Owner: "alice", Data: []byte("first")}
	want := s.create(b, created)
	want.Data = []byte("second")
	want = s.update(b, want)
	s.is(taken, b.Create(s.ctx, created), backend.ErrExists)
	s.is(taken, b.Create(s.ctx, want), backend.ErrExists) // stored like this, but at Revision 2
	s.holds(failureIsIdle, b, want)
}

func createAfterDelete(s *store) {
	b := s.handle()
	created := backend.Record{ID: "key-1", Owner: "alice", Data: []byte("first")}
	want := s.create(b, created)
	s.touch(b, map[string]time.Time{want.ID: now})
	s.delete(b, want.ID)
	s.ok("Create stores a record whose ID is free", b.Create(s.ctx, created))
	s.holds(anew, b, want)
}

func repeatedUpdate(s *store) {
	b := s.handle()
	created := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0"), PurgeAt: now.Add(time.Hour)})
	for _, change := range []struct {
		data    string
		purgeAt time.Time
	}{
		{"1", now},
		{"2", now},         // PurgeAt as it was
		{"2", time.Time{}}, // Data as it was
		{"2", time.Time{}}, // both as they were: a change of the revision alone
		{"", time.UnixMilli(0).UTC()},
	} {
		given := s.get(b, created.ID)
		given.Data, given.PurgeAt = []byte(change.data), change.purgeAt
		want := s.update(b, given)
		given.Owner, given.LastUsed = "mallory", now.Add(time.Hour) // are ignored as the first time
		s.ok(updateRepeats, b.Update(s.ctx, given))
		s.holds(repeatIsIdle, b, want)

		used := want.LastUsed.Add(time.Second)
		if want.LastUsed.IsZero() {
			used = now
		}
		s.touch(b, map[string]time.Time{want.ID: used})
		want.LastUsed = used
		s.ok(updateRepeats, b.Update(s.ctx, given))
		s.holds(repeatIsIdle, b, want)
	}
}

func otherUpdate(s *store) {
	b := s.handle()
	old := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("first")})
	given := old
	given.Data, given.PurgeAt = []byte("second"), now
	want := s.update(b, given)
	for _, r := range []backend.Record{
		{ID: "key-1", Data: []byte("other"), PurgeAt: now, Revision: 1},
		{ID: "key-1", Data: nil, PurgeAt: now, Revision: 1},
		{ID: "key-1", Data: []byte("first"), PurgeAt: now, Revision: 1},
		{ID: "key-1", Data: []byte("second"), PurgeAt: now.Add(time.Millisecond), Revision: 1},
		{ID: "key-1", Data: []byte("second"), Revision: 1},
	} {
		s.is(conflict, b.Update(s.ctx, r), backend.ErrConflict)
		s.holds(failureIsIdle, b, want)
	}
}

// overtakenUpdate repeats a write whose very bytes are stored again, but at a
// later revision.
func overtakenUpdate(s *store) {
	b := s.handle()
	first := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("a")})
	given := first
	given.Data = []byte("b")
	second := s.update(b, given)
	second.Data = []byte("c")
	third := s.update(b, second)
	s.is(conflict, b.Update(s.ctx, given), backend.ErrConflict)
	s.holds(failureIsIdle, b, third)
	third.Data = []byte("b")
	fourth := s.update(b, third)
	s.is(conflict, b.Update(s.ctx, given), backend.ErrConflict)
	s.holds(failureIsIdle, b, fourth)
}

func sameWriteAtOnce(s *store) {
	handles := s.handles(3)
	r := backend.Record{ID: "key-1", Owner: "alice", Data: []byte("first"), PurgeAt: now}
	s.together(12, func(i int) {
		if err := handles[i%3].Create(s.ctx, r); err != nil {
			createRepeats.Errorf(s, "error is %v", err)
		}
	})
	want := r
	want.Revision = 1
	s.holds(repeatIsIdle, handles[0], want)

	given := want
	given.Data = []byte("second")
	s.together(12, func(i int) {
		if err := handles[i%3].Update(s.ctx, given); err != nil {
			updateRepeats.Errorf(s, "error is %v", err)
		}
	})
	want.Data, want.Revision = given.Data, 2
	s.holds(repeatIsIdle, handles[0], want)
}
