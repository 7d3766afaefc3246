package conformance

import (
	"math"
	"strings"
	"time"

	"example.com/keystore/backend"
)

var boundaryChecks = []check{
	{"IDs of every kind", idsOfEveryKind},
	{"IDs in upper and lower case", idsKeepCase},
	{"revisions that are not stored", revisionsNotStored},
	{"a new life starts at revision 1", newLife},
	{"a new owner takes over the ID", newOwner},
}

const anew = rule("a record that is created anew starts at Revision 1 with a zero LastUsed")

func idsOfEveryKind(s *store) {
	b := s.handle()
	ids := []string{
		"-", "--", "-a", "0", "00", "9", "A", "Z", "_", "__", "_id", "a", "aa", "a-", "a_", "z",
		"null", "1e5", "0x10", "-1", "KEYS", "undefined",
		"0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
		strings.Repeat("z", backend.MaxIDLen), strings.Repeat("-", backend.MaxIDLen),
		strings.Repeat("z", backend.MaxIDLen-1),
	}
	var records []backend.Record
	for _, id := range ids {
		records = append(records, s.create(b, backend.Record{ID: id, Owner: "alice", Data: []byte("data of " + id)}))
	}
	for _, r := range records {
		s.holds("an ID is [0-9A-Za-z_-]{1,64}", b, r)
		r.Data = []byte("new data of " + r.ID)
		s.update(b, r)
	}
	for _, id := range ids {
		s.delete(b, id)
		s.lacks("Delete removes the record", b, id)
	}
}

func idsKeepCase(s *store) {
	const r = rule("IDs are compared byte for byte")
	b := s.handle()
	lower := s.create(b, backend.Record{ID: "key-a", Owner: "alice", Data: []byte("lower")})
	_, err := b.Get(s.ctx, "KEY-A")
	s.is(r, err, backend.ErrNotFound)

	upper := backend.Record{ID: "KEY-A", Owner: "alice", Data: []byte("upper")}
	if err := b.Create(s.ctx, upper); err != nil {
		r.Fatalf(s, "Create of %q beside %q: error is %v", upper.ID, lower.ID, err)
	}
	upper.Revision = 1
	s.touch(b, map[string]time.Time{upper.ID: now})
	upper.LastUsed = now
	s.holds(r, b, lower)
	s.holds(r, b, upper)
	s.delete(b, upper.ID)
	s.holds(r, b, lower)
}

func revisionsNotStored(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0")})
	want.Data = []byte("1")
	want = s.update(b, want)
	want.Data = []byte("2")
	want = s.update(b, want)
	for _, revision := range []uint64{0, 1, 2, 4, 1 << 31, 1 << 32, 3 + 1<<32, 1 << 53, math.MaxInt64, 1 << 63, math.MaxUint64} {
		given := want
		given.Revision, given.Data, given.PurgeAt = revision, []byte("wrong"), now
		s.is(conflict, b.Update(s.ctx, given), backend.ErrConflict)
		s.holds("a failed Update changes nothing", b, want)
	}
}

func newLife(s *store) {
	b := s.handle()
	for _, end := range []func(){
		func() { s.delete(b, "key-1") },
		func() { s.purgeAll(b, now) },
	} {
		old := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("old"), PurgeAt: now})
		for _, data := range []string{"1", "2", "3"} {
			old.Data = []byte(data)
			old = s.update(b, old)
		}
		s.touch(b, map[string]time.Time{old.ID: now.Add(time.Hour)})
		end()

		fresh := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("fresh"), PurgeAt: now.Add(time.Hour)})
		s.holds(anew, b, fresh)
		old.Data = []byte("late")
		s.is(conflict, b.Update(s.ctx, old), backend.ErrConflict)
		s.holds("a failed Update changes nothing", b, fresh)
		s.delete(b, fresh.ID)
	}
}

func newOwner(s *store) {
	const r = rule("List returns only this owner's records")
	b := s.handle()
	for _, end := range []func(){
		func() { s.delete(b, "key-1") },
		func() { s.purgeAll(b, now) },
	} {
		s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("old"), PurgeAt: now})
		end()
		fresh := s.create(b, backend.Record{ID: "key-1", Owner: "bob", Data: []byte("fresh")})
		s.holds(r, b, fresh)
		s.listed(r, s.all(b, "alice"), nil)
		s.listed(r, s.all(b, "bob"), []string{"key-1"})
		s.delete(b, "key-1")
		s.listed(r, s.all(b, "bob"), nil)
	}
}
