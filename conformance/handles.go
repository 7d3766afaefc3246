package conformance

import (
	"time"

	"example.com/keystore/backend"
)

var handlesChecks = []check{
	{"of one store see each other's changes", handlesShare},
	{"of other stores see nothing", handlesOfOtherStores},
}

// handlesShare reads each change through every handle, and before the change as
// well, so that a handle which remembers what it read is caught.
func handlesShare(s *store) {
	const r = rule("a change is seen through every handle of the store once it is acknowledged")
	all := s.handles(3)
	writer := func(i int) backend.Backend { return all[i%len(all)] }
	seen := func(want backend.Record) {
		s.Helper()
		for _, b := range all {
			s.holds(r, b, want)
		}
	}
	gone := func(id string) {
		s.Helper()
		for _, b := range all {
			s.lacks(r, b, id)
			s.listed(r, s.all(b, "alice"), nil)
		}
	}
	for i := range 3 {
		gone("key-1")
		want := s.create(writer(i), backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0"), PurgeAt: now.Add(time.Hour)})
		seen(want)
		want.Data, want.PurgeAt = []byte("1"), now
		want = s.update(writer(i+1), want)
		seen(want)
		s.touch(writer(i+2), map[string]time.Time{want.ID: now})
		want.LastUsed = now
		seen(want)
		s.is(taken, writer(i+1).Create(s.ctx, want), backend.ErrExists)
		if i%2 == 0 {
			s.delete(writer(i), want.ID)
		} else {
			s.purgeAll(writer(i), now)
		}
	}
	gone("key-1")
}

// handlesOfOtherStores has a second store whose name begins like the first's.
func handlesOfOtherStores(s *store) {
	const r = rule("stores of other names have other records")
	b, other := s.handle(), s.openNamed(s.name+"x")
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("one"), PurgeAt: now.Add(time.Hour)})
	s.lacks(r, other, want.ID)

	theirs := backend.Record{ID: "key-1", Owner: "alice", Data: []byte("two"), PurgeAt: now}
	if err := other.Create(s.ctx, theirs); err != nil {
		r.Fatalf(s, "Create of an ID that is taken in the other: error is %v", err)
	}
	theirs.Revision = 1
	s.touch(other, map[string]time.Time{theirs.ID: now})
	theirs.LastUsed = now
	s.holds(r, b, want)
	s.holds(r, other, theirs)

	s.create(b, backend.Record{ID: "key-2", Owner: "alice", Data: []byte("d"), PurgeAt: now.Add(time.Hour)})
	s.listed(r, s.all(other, "alice"), []string{"key-1"})
	if n := s.purgeAll(other, now.Add(2*time.Hour)); n != 1 {
		r.Errorf(s, "Purge says %d of 1 that is due", n)
	}
	s.delete(other, "key-2")
	s.listed(r, s.all(b, "alice"), []string{"key-1", "key-2"})
	s.holds(r, b, want)
	s.close(other)
	s.holds(r, b, want)
}
