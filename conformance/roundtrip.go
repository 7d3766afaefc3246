package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/keystore/backend"
)

var roundtripChecks = []check{
	{"every field", everyField},
	{"Create ignores Revision and LastUsed", createIgnores},
	{"Update replaces Data and PurgeAt", updateReplaces},
	{"Update ignores Owner and LastUsed", updateIgnores},
	{"Data byte for byte", dataByteForByte},
	{"PurgeAt exactly", purgeAtExactly},
	{"LastUsed exactly", lastUsedExactly},
	{"Get past PurgeAt", getPastPurgeAt},
	{"no such record", noSuchRecord},
	{"Delete", deleteForgets},
}

const (
	createsFresh  = rule("Create stores the record at Revision 1 with a zero LastUsed, whatever r says of these")
	updateMissing = rule("Update returns ErrNotFound if there is no such record")
	noRevival     = rule("Update does not revive a deleted record")
	replaces      = rule("Update replaces Data and PurgeAt and adds one to the revision")
	stillReturned = rule("a record past its PurgeAt is still returned until Purge has deleted it")
	getMissing    = rule("Get returns ErrNotFound if there is no such record")
	deleteMissing = rule("Delete returns nil also if there is no such record")
	ignores       = rule("Update ignores r.Owner and r.LastUsed")
	byteForByte   = rule("Data is returned byte for byte")
)

func everyField(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("first"), PurgeAt: now.Add(time.Hour)})
	s.holds("Get and List return the record as it was created", b, want)

	used := now.Add(time.Minute)
	s.touch(b, map[string]time.Time{want.ID: used})
	want.LastUsed = used
	want.Data, want.PurgeAt = []byte("second"), now.Add(2*time.Hour)
	want = s.update(b, want)
	s.holds("Get and List return the record as it was updated and touched", b, want)
}

func createIgnores(s *store) {
	b := s.handle()
	r := backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d"), LastUsed: now, Revision: 7}
	want := s.create(b, r)
	s.holds(createsFresh, b, want)
}

func updateReplaces(s *store) {
	b := s.handle()
	record := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0"), PurgeAt: now})
	neighbour := s.create(b, backend.Record{ID: "key-2", Owner: "alice", Data: []byte("0"), PurgeAt: now})
	for i, at := range []time.Time{{}, now.Add(time.Hour), now.Add(-time.Hour), {}, {}, now} {
		record.Data, record.PurgeAt = fmt.Append(nil, i), at
		record = s.update(b, record)
		s.holds(replaces, b, record)
	}
	s.holds("Update changes no other record", b, neighbour)
}

func updateIgnores(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0")})
	s.touch(b, map[string]time.Time{want.ID: now})
	want.LastUsed = now
	for i, lastUsed := range []time.Time{{}, now.Add(-time.Hour), now.Add(time.Hour)} {
		want.Data = fmt.Append(nil, "new ", i)
		given := want
		given.Owner, given.LastUsed = "mallory", lastUsed
		s.update(b, given)
		want.Revision++
		s.holds(ignores, b, want)
	}
	if taken := s.all(b, "mallory"); len(taken) > 0 {
		rule("Owner is fixed at Create").Errorf(s, "List of the owner that Update named has %q", taken[0].ID)
	}
}

func dataByteForByte(s *store) {
	b := s.handle()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	largest := make([]byte, backend.MaxDataLen)
	rand.NewChaCha8([32]byte{1}).Read(largest) // does not compress
	contents := [][]byte{
		nil, {}, {0}, {0, 0}, every, largest,
		bytes.Repeat([]byte{0xff}, 300),
		[]byte("\xff\xfe not UTF-8 \xc3\x28"),
		[]byte("\r\n'\"\\{}[]$.\x1f "),
		[]byte("null"), []byte("0"), []byte("nil"),
	}
	for i, data := range contents {
		created := s.create(b, backend.Record{ID: fmt.Sprintf("created-%d", i), Owner: "alice", Data: data})
		s.holds(byteForByte, b, created)
		updated := s.create(b, backend.Record{ID: fmt.Sprintf("updated-%d", i), Owner: "alice", Data: []byte("before")})
		updated.Data = data
		s.holds(byteForByte, b, s.update(b, updated))
	}
}

// instants are the times that are easily lost or confused: the zero time, which
// is not 1970, parts of a second, and what some number of bits cannot hold.
var instants = []time.Time{
	{},
	time.UnixMilli(0).UTC(),
	time.UnixMilli(1).UTC(),
	time.UnixMilli(999).UTC(),
	time.UnixMilli(1000).UTC(),
	now,
	now.Truncate(time.Second),
	now.Truncate(time.Second).Add(time.Millisecond),
	now.Truncate(time.Second).Add(999 * time.Millisecond),
	time.Unix(1<<31-1, 0).UTC().Add(999 * time.Millisecond),
	time.Unix(1<<31, 0).UTC(),
	time.Date(2262, time.April, 12, 0, 0, 0, 0, time.UTC), // past 1<<63 ns
	time.Date(8888, time.December, 31, 23, 59, 59, int(999*time.Millisecond), time.UTC),
}

const exactly = rule("times are UTC, whole milliseconds, and are kept exactly")

func purgeAtExactly(s *store) {
	b := s.handle()
	for i, at := range instants {
		created := s.create(b, backend.Record{ID: fmt.Sprintf("created-%d", i), Owner: "alice", Data: []byte("d"), PurgeAt: at})
		s.holds(exactly, b, created)
		updated := s.create(b, backend.Record{ID: fmt.Sprintf("updated-%d", i), Owner: "alice", Data: []byte("d"), PurgeAt: now.Add(time.Hour)})
		updated.PurgeAt = at
		s.holds(exactly, b, s.update(b, updated))
	}
}

func lastUsedExactly(s *store) {
	b := s.handle()
	for i, at := range instants {
		want := s.create(b, backend.Record{ID: fmt.Sprintf("key-%d", i), Owner: "alice", Data: []byte("d")})
		s.touch(b, map[string]time.Time{want.ID: at})
		want.LastUsed = at
		s.holds(exactly, b, want)
	}
}

// getPastPurgeAt would catch a native TTL: these times have long passed.
func getPastPurgeAt(s *store) {
	b := s.handle()
	for i, at := range []time.Time{time.UnixMilli(0), time.UnixMilli(1), time.Unix(1e9, 0)} {
		created := s.create(b, backend.Record{ID: fmt.Sprintf("created-%d", i), Owner: "alice", Data: []byte("d"), PurgeAt: at.UTC()})
		s.holds(stillReturned, b, created)
		updated := s.create(b, backend.Record{ID: fmt.Sprintf("updated-%d", i), Owner: "alice", Data: []byte("d")})
		updated.PurgeAt = at.UTC()
		updated = s.update(b, updated)
		s.holds(stillReturned, b, updated)
		updated.Data = []byte("changed")
		s.holds(stillReturned, b, s.update(b, updated))
	}
}

func noSuchRecord(s *store) {
	b := s.handle()
	s.create(b, backend.Record{ID: "other", Owner: "alice", Data: []byte("d")})
	_, err := b.Get(s.ctx, "missing")
	s.is(getMissing, err, backend.ErrNotFound)
	for _, revision := range []uint64{0, 1, 2} {
		err = b.Update(s.ctx, backend.Record{ID: "missing", Owner: "alice", Data: []byte("d"), Revision: revision})
		s.is(updateMissing, err, backend.ErrNotFound)
	}
	s.lacks("Update creates nothing", b, "missing")
	s.ok(deleteMissing, b.Delete(s.ctx, "missing"))
}

func deleteForgets(s *store) {
	b := s.handle()
	r := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d"), PurgeAt: now})
	neighbour := s.create(b, backend.Record{ID: "key-2", Owner: "alice", Data: []byte("d"), PurgeAt: now})
	s.delete(b, r.ID)
	s.lacks("Delete removes the record", b, r.ID)
	s.listed("Delete removes the record", s.all(b, "alice"), []string{neighbour.ID})
	r.Data = []byte("late")
	s.is(updateMissing, b.Update(s.ctx, r), backend.ErrNotFound)
	s.lacks(noRevival, b, r.ID)
	s.holds("Delete removes no other record", b, neighbour)
	s.ok(deleteMissing, b.Delete(s.ctx, r.ID))
}
