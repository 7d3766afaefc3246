package conformance

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

var racesChecks = []check{
	{"one Create wins", oneCreateWins},
	{"one Update wins", oneUpdateWins},
	{"no Update is lost", noUpdateIsLost},
	{"Delete against Update", deleteAgainstUpdate},
	{"Create against Delete", createAgainstDelete},
	{"reads while writing", readsWhileWriting},
}

const ofOnePiece = rule("a read shows a record as one write left it")

// outcome is how the calls went that were made at once: which of them won.
type outcome struct{ wins, last atomic.Int64 }

// note notes that call i ended with err, which may be nil or lost.
func (o *outcome) note(s *store, r rule, i int, err, lost error) {
	switch {
	case err == nil:
		o.wins.Add(1)
		o.last.Store(int64(i))
	case !errors.Is(err, lost):
		r.Errorf(s, "error is %v, want none or %v", err, lost)
	}
}

func oneCreateWins(s *store) {
	const r = rule("of several Creates of one ID exactly one succeeds")
	all := s.handles(3)
	for round := 0; round < 15 && !s.Failed(); round++ {
		records := make([]backend.Record, 16)
		var o outcome
		s.together(len(records), func(i int) {
			records[i] = backend.Record{ID: fmt.Sprintf("key-%d", round), Owner: fmt.Sprintf("owner-%d", i%2), Data: fmt.Append(nil, "caller ", i)}
			o.note(s, r, i, all[i%3].Create(s.ctx, records[i]), backend.ErrExists)
		})
		if o.wins.Load() != 1 {
			r.Fatalf(s, "%d were told so", o.wins.Load())
		}
		want := records[o.last.Load()]
		want.Revision = 1
		s.holds("the Create that succeeds is the one that is stored", all[0], want)
	}
	if n := len(s.all(all[0], "owner-0")) + len(s.all(all[0], "owner-1")); n != 15 && !s.Failed() {
		r.Errorf(s, "the owners have %d records together, want 15", n)
	}
}

func oneUpdateWins(s *store) {
	const r = rule("of several Updates on one revision exactly one succeeds")
	all := s.handles(3)
	want := s.create(all[0], backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0")})
	for round := 0; round < 20 && !s.Failed(); round++ {
		given := make([]backend.Record, 16)
		var o outcome
		s.together(len(given), func(i int) {
			given[i] = want
			given[i].Data, given[i].PurgeAt = fmt.Append(nil, "round ", round, " caller ", i), now.Add(time.Duration(i)*time.Hour)
			o.note(s, r, i, all[i%3].Update(s.ctx, given[i]), backend.ErrConflict)
		})
		if o.wins.Load() != 1 {
			r.Fatalf(s, "%d were told so", o.wins.Load())
		}
		want = given[o.last.Load()]
		want.Revision++
		s.holds("the Update that succeeds is the one that is stored", all[0], want)
	}
}

// noUpdateIsLost counts in the record itself: every success adds one.
func noUpdateIsLost(s *store) {
	const r = rule("no acknowledged Update is lost")
	all := s.handles(4)
	const callers, each = 8, 6
	s.create(all[0], backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0")})
	var wins atomic.Int64
	s.together(callers, func(i int) {
		b := all[i%4]
		for mine := 0; mine < each; {
			record, err := b.Get(s.ctx, "key-1")
			if err != nil {
				r.Errorf(s, "Get: error is %v", err)
				return
			}
			digits, _, _ := strings.Cut(string(record.Data), " ")
			count, err := strconv.Atoi(digits)
			if err != nil {
				r.Errorf(s, "data is %q", record.Data)
				return
			}
			record.Data = fmt.Appendf(nil, "%d %d %d", count+1, i, mine) // no two callers write the same
			switch err := b.Update(s.ctx, record); {
			case err == nil:
				mine++
				wins.Add(1)
			case !errors.Is(err, backend.ErrConflict):
				r.Errorf(s, "Update: error is %v, want none or %v", err, backend.ErrConflict)
				return
			}
		}
	})
	got := s.get(all[0], "key-1")
	if got.Revision-1 != uint64(wins.Load()) {
		r.Errorf(s, "revision is %d after %d Updates", got.Revision, wins.Load())
	}
	if count, _, _ := strings.Cut(string(got.Data), " "); count != strconv.FormatInt(wins.Load(), 10) {
		r.Errorf(s, "%s are in the data of %d Updates", count, wins.Load())
	}
}

func deleteAgainstUpdate(s *store) {
	all := s.handles(2)
	for round := 0; round < 25 && !s.Failed(); round++ {
		id := fmt.Sprintf("key-%d", round)
		s.create(all[0], backend.Record{ID: id, Owner: "alice", Data: []byte("0")})
		var deleted atomic.Bool
		s.amid(4, func(i int, calls func()) {
			for revision := uint64(1); revision < 20; revision++ { // follows the others, so that some succeed
				calls()
				late := deleted.Load()
				err := all[i%2].Update(s.ctx, backend.Record{ID: id, Data: fmt.Append(nil, i, revision), Revision: revision})
				switch {
				case errors.Is(err, backend.ErrNotFound):
					return
				case late:
					noRevival.Errorf(s, "error of an Update that began later is %v, want %v", err, backend.ErrNotFound)
				case err != nil && !errors.Is(err, backend.ErrConflict):
					noRevival.Errorf(s, "error is %v", err)
				}
			}
		}, func() {
			if err := all[0].Delete(s.ctx, id); err != nil {
				rule("Delete returns nil").Errorf(s, "error is %v", err)
			}
			deleted.Store(true)
		})
		s.lacks(noRevival, all[0], id)
	}
	s.listed(noRevival, s.all(all[0], "alice"), nil)
}

// createAgainstDelete leaves open who is last, but not that they agree: what a
// Create has stored is whole, and after the last Delete nothing is left.
func createAgainstDelete(s *store) {
	const r = rule("Create and Delete at the same time leave one whole record or none")
	all := s.handles(3)
	for round := 0; round < 15 && !s.Failed(); round++ {
		id := fmt.Sprintf("key-%d", round)
		s.together(8, func(i int) {
			b := all[i%3]
			if i%2 == 0 {
				if err := b.Delete(s.ctx, id); err != nil {
					r.Errorf(s, "Delete: error is %v", err)
				}
				return
			}
			owner := fmt.Sprintf("owner-%d", i)
			err := b.Create(s.ctx, backend.Record{ID: id, Owner: owner, Data: []byte(owner), PurgeAt: now})
			if err != nil && !errors.Is(err, backend.ErrExists) {
				r.Errorf(s, "Create: error is %v", err)
			}
		})
		got, err := all[0].Get(s.ctx, id)
		if err == nil {
			s.holds(r, all[0], backend.Record{ID: id, Owner: got.Owner, Data: []byte(got.Owner), PurgeAt: now, Revision: 1})
		}
		for _, owner := range []string{"owner-1", "owner-3", "owner-5", "owner-7"} {
			if err != nil || owner != got.Owner {
				s.listed(r, s.all(all[0], owner), nil)
			}
		}
		s.delete(all[1], id)
		s.lacks(r, all[0], id)
	}
	if n := s.purgeAll(all[0], now); n != 0 {
		counts.Errorf(s, "it says %d of an empty store", n)
	}
}

// readsWhileWriting writes the revision into Data and PurgeAt, so that a reader
// sees whether what it got is of one piece.
func readsWhileWriting(s *store) {
	const r = rule("a read shows every change that was acknowledged before it began")
	all := s.handles(3)
	content := func(revision uint64) ([]byte, time.Time) {
		return strconv.AppendUint(nil, revision, 10), now.Add(time.Duration(revision) * time.Second)
	}
	record := backend.Record{ID: "key-1", Owner: "alice"}
	record.Data, record.PurgeAt = content(1)
	record = s.create(all[0], record)
	var acknowledged atomic.Uint64
	acknowledged.Store(1)

	s.during(4, func(worker, round int) error {
		least := acknowledged.Load()
		var got backend.Record
		var err error
		if worker%2 == 0 {
			got, err = all[worker%3].Get(s.ctx, "key-1")
		} else {
			var page []backend.Record
			page, err = all[worker%3].List(s.ctx, backend.ListOptions{Owner: "alice", Limit: 1})
			if err == nil && len(page) != 1 {
				err = errors.New("the record is not listed")
			}
			if err == nil {
				got = page[0]
			}
		}
		if err != nil {
			return err
		}
		if got.Revision < least {
			r.Errorf(s, "revision is %d after %d was acknowledged", got.Revision, least)
		}
		want := backend.Record{ID: "key-1", Owner: "alice", Revision: got.Revision}
		want.Data, want.PurgeAt = content(got.Revision)
		s.same(ofOnePiece, got, want)
		return nil
	}, func(pass func()) {
		for revision := uint64(2); revision <= 40; revision++ {
			pass()
			record.Data, record.PurgeAt = content(revision)
			record = s.update(all[0], record)
			acknowledged.Store(revision)
		}
	})
}
