package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
)

var pagesChecks = []check{
	{"byte order at every limit", byteOrder},
	{"After every ID", afterEveryID},
	{"an owner's page after any ID", ownerAfterAnyID},
	{"only an empty page is the end", onlyEmptyEnds},
	{"an empty store", emptyStore},
	{"changes between pages", changesBetweenPages},
	{"changes during walks", changesDuringWalks},
}

// mixed are IDs in byte order in which other orders, such as those of words and
// of numbers, show.
var mixed = []string{
	"-", "--", "-0", "-a", "0", "0-", "0A", "0_", "0a", "1", "10", "100", "2", "9",
	"A", "A-", "AA", "A_", "Aa", "B", "Z", "Z9", "_", "_-", "_A", "__", "_a",
	"a", "a-", "a0", "aA", "a_", "aa", "aaa", "ab", "b", "z", "z9", "zZ", strings.Repeat("z", backend.MaxIDLen),
}

const (
	allOnce  = rule("a record that is present throughout a walk appears in it exactly once")
	inOrder  = rule("List is in byte order of the IDs")
	notAfter = rule("After need not exist")
)

// fill creates a record for each of the ids, in any order but theirs, and with
// the owners by turns.
func (s *store) fill(b backend.Backend, ids []string, owners ...string) {
	s.Helper()
	for _, i := range rand.Perm(len(ids)) {
		s.create(b, backend.Record{ID: ids[i], Owner: owners[i%len(owners)], Data: []byte(ids[i])})
	}
}

func byteOrder(s *store) {
	b := s.handle()
	s.fill(b, mixed, "alice", "bob")
	owned := map[string][]string{"": mixed}
	for i, id := range mixed {
		owner := []string{"alice", "bob"}[i%2]
		owned[owner] = append(owned[owner], id)
	}
	for owner, ids := range owned {
		for _, limit := range []int{1, 2, 7, len(ids) - 1, len(ids), len(ids) + 1, backend.MaxLimit} {
			s.listed(inOrder, s.walk(b, backend.ListOptions{Owner: owner, Limit: limit}), ids)
		}
	}
}

func afterEveryID(s *store) {
	b := s.handle()
	var there, gone []string
	for i, id := range mixed {
		if i%3 == 0 {
			gone = append(gone, id)
		} else {
			there = append(there, id)
		}
	}
	s.fill(b, there, "alice")
	s.fill(b, gone[:len(gone)/2], "alice") // and the other half never was there
	for _, id := range gone {
		s.delete(b, id)
	}
	for _, after := range mixed {
		r := rule("List returns only IDs greater than After")
		if slices.Contains(gone, after) {
			r = notAfter
		}
		want := slices.DeleteFunc(slices.Clone(there), func(id string) bool { return id <= after })
		for _, owner := range []string{"", "alice"} {
			s.listed(r, s.walk(b, backend.ListOptions{Owner: owner, After: after, Limit: backend.MaxLimit}), want)
		}
	}
}

func ownerAfterAnyID(s *store) {
	b := s.handle()
	s.fill(b, []string{"a", "b", "c", "d", "e", "f"}, "alice", "bob")
	for after, want := range map[string][]string{
		"":  {"b", "d", "f"},
		"a": {"b", "d", "f"}, // another owner's
		"b": {"d", "f"},
		"e": {"f"},
		"f": nil,
		"z": nil,
	} {
		s.listed(notAfter, s.walk(b, backend.ListOptions{Owner: "bob", After: after, Limit: 2}), want)
	}
}

// onlyEmptyEnds has an owner whose records are far apart: a backend that reads a
// page and then picks from it would come to an empty one.
func onlyEmptyEnds(s *store) {
	b := s.handle()
	var ids []string
	for i := range 120 {
		ids = append(ids, fmt.Sprintf("many-%03d", i))
	}
	s.fill(b, ids, "many")
	rare := []string{"many-010x", "many-060x", "many-119x"}
	s.fill(b, rare, "rare")
	for _, limit := range []int{1, 2, 5, 50} {
		s.listed("only an empty page is the end", s.walk(b, backend.ListOptions{Owner: "rare", Limit: limit}), rare)
	}
}

func emptyStore(s *store) {
	b := s.handle()
	for _, o := range []backend.ListOptions{{Limit: 1}, {Owner: "alice", Limit: 1000}, {After: "x", Limit: 10}, {Owner: "alice", After: "x", Limit: 10}} {
		s.listed("List of an empty store is an empty page", s.list(b, o), nil)
	}
}

// changesBetweenPages deletes the last record of each page, so that the next
// begins after an ID that is not there, and makes and moves records around it: a
// backend that counts records, instead of comparing IDs, would lose its place.
func changesBetweenPages(s *store) {
	b := s.handle()
	var ids []string
	for i := range 20 {
		ids = append(ids, fmt.Sprintf("m%02d", i))
	}
	for _, owner := range []string{"", "alice"} {
		for i, limit := range []int{1, 3, 6} {
			s.fill(b, ids, "alice")
			var got []backend.Record
			o := backend.ListOptions{Owner: owner, Limit: limit}
			for page := s.list(b, o); len(page) > 0; page = s.list(b, o) {
				got = append(got, page...)
				last := page[len(page)-1]
				o.After = last.ID
				s.delete(b, last.ID)
				for n := range i { // none, one in place of the other, and more
					s.create(b, backend.Record{ID: fmt.Sprintf("a%02d-%d", len(got), n), Owner: "alice", Data: []byte("early")})
				}
				if len(page) > 1 {
					page[0].Data = []byte("changed")
					s.update(b, page[0])
					s.touch(b, map[string]time.Time{page[0].ID: now})
				}
			}
			s.listed(allOnce, got, ids)
			for _, r := range s.all(b, "") {
				s.delete(b, r.ID)
			}
		}
	}
}

func changesDuringWalks(s *store) {
	handles := s.handles(2)
	var stable []string
	for i := range 30 {
		stable = append(stable, fmt.Sprintf("m%02d", i))
	}
	s.fill(handles[0], stable, "alice")

	churn := func(worker, round int) error {
		b := handles[worker%2]
		at := stable[rand.IntN(len(stable))]
		beside := fmt.Sprintf("%s-%d", at, worker)
		if err := b.Create(s.ctx, backend.Record{ID: beside, Owner: "alice", Data: fmt.Append(nil, round)}); err != nil {
			return err
		}
		r, err := b.Get(s.ctx, at)
		if err != nil {
			return err
		}
		r.Data = fmt.Append(nil, "round ", worker, round)
		if err := b.Update(s.ctx, r); err != nil && !errors.Is(err, backend.ErrConflict) { // another worker may have been faster
			return err
		}
		if err := b.Touch(s.ctx, map[string]time.Time{at: now.Add(time.Duration(round) * time.Second)}); err != nil {
			return err
		}
		return b.Delete(s.ctx, beside)
	}
	s.during(3, churn, func(pass func()) {
		for i := range 12 {
			pass()
			o := backend.ListOptions{Owner: []string{"", "alice"}[i%2], Limit: []int{1, 4, 7}[i%3]}
			walked := s.walk(handles[0], o)
			walked = slices.DeleteFunc(walked, func(r backend.Record) bool { return strings.Contains(r.ID, "-") })
			s.listed(allOnce, walked, stable)
		}
	})
}
