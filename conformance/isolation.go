package conformance

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"time"

	"example.com/keystore/backend"
)

var isolationChecks = []check{
	{"Create and Update keep no memory", keepsNoMemory},
	{"nothing given is modified", modifiesNoMemory},
	{"what is returned belongs to the caller", returnsOwnMemory},
	{"Touch keeps no memory", touchKeepsNoMemory},
}

const keepsNothing = rule("a backend does not keep memory that it is given")

func keepsNoMemory(s *store) {
	b := s.handle()
	data := []byte("created")
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: data})
	want.Data = bytes.Clone(data)
	clear(data)
	s.holds(keepsNothing, b, want)

	data = []byte("updated")
	want.Data = data
	want = s.update(b, want)
	want.Data = bytes.Clone(data)
	clear(data)
	s.holds(keepsNothing, b, want)
}

// modifiesNoMemory gives Data that has room behind it, so that an append to it
// shows as well.
func modifiesNoMemory(s *store) {
	const r = rule("a backend does not modify memory that it is given")
	b := s.handle()
	whole := []byte("head|data|" + strings.Repeat("tail", 20))
	before := bytes.Clone(whole)
	record := backend.Record{ID: "key-1", Owner: "alice", Data: whole[5:9], PurgeAt: now}
	unchanged := func(method string) {
		s.Helper()
		if !bytes.Equal(whole, before) {
			r.Errorf(s, "%s made %q of %q", method, whole, before)
		}
	}
	record = s.create(b, record)
	unchanged("Create")
	record.PurgeAt = now.Add(time.Hour)
	s.update(b, record)
	unchanged("Update")
	s.is(taken, b.Create(s.ctx, record), backend.ErrExists)
	unchanged("Create of a taken ID")

	used := map[string]time.Time{"key-1": now, "missing": now, "zero": {}}
	given := maps.Clone(used)
	s.touch(b, used)
	if !maps.Equal(used, given) {
		r.Errorf(s, "Touch made %v of %v", used, given)
	}
}

func returnsOwnMemory(s *store) {
	const r = rule("what a backend returns belongs to the caller")
	b := s.handle()
	var want []backend.Record
	for i := range 3 {
		want = append(want, s.create(b, backend.Record{ID: fmt.Sprintf("key-%d", i), Owner: "alice", Data: fmt.Append(nil, "data ", i)}))
	}
	intact := func(after string) {
		s.Helper()
		for _, record := range want {
			got := s.get(b, record.ID)
			if d := diff(got, record); d != "" {
				r.Errorf(s, "after %s record %q: %s", after, record.ID, d)
			}
			clear(got.Data)
		}
	}
	intact("nothing")
	intact("a change to what Get returned")

	o := backend.ListOptions{Limit: 10}
	for _, o.Owner = range []string{"", "alice"} {
		page := s.all(b, o.Owner)
		for i := range page { // of records that share one buffer, this one runs into the next
			page[i].Data = append(page[i].Data, " and more"...)
		}
		for i := range page {
			page[i].Data = bytes.TrimSuffix(page[i].Data, []byte(" and more"))
			s.same(r, page[i], want[i])
			clear(page[i].Data)
		}
		intact("a change to what List returned")
	}
}

func touchKeepsNoMemory(s *store) {
	b := s.handle()
	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d")})
	other := s.create(b, backend.Record{ID: "key-2", Owner: "alice", Data: []byte("d")})
	used := map[string]time.Time{"key-1": now}
	s.touch(b, used)
	used["key-1"] = now.Add(time.Hour)
	used["key-2"] = now.Add(time.Hour)
	want.LastUsed = now
	s.holds(keepsNothing, b, want)
	s.holds(keepsNothing, b, other)
}
