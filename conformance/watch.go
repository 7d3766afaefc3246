package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"example.com/keystore/backend"
)

var watchChecks = []check{
	{"Create is heard", createIsHeard},
	{"Update is heard", updateIsHeard},
	{"Delete is heard", deleteIsHeard},
	{"Purge is heard", purgeIsHeard},
	{"Touch sends nothing", touchSendsNothing},
	{"a slow reader blocks no writer", slowReader},
	{"closes when the context ends", watchEndsWithContext},
	{"closes when the backend is closed", watchEndsWithBackend},
}

// watch subscribes until the check ends, or skips the check.
func (s *store) watch(ctx context.Context, b backend.Backend) <-chan string {
	s.Helper()
	w, ok := b.(backend.Watcher)
	if !ok {
		s.Skip("skipped: the backend is no backend.Watcher, which is optional")
	}
	ctx, cancel := context.WithCancel(ctx)
	changes, err := w.Watch(ctx)
	if err != nil || changes == nil {
		cancel()
		rule("Watch subscribes").Fatalf(s, "channel is %v, error is %v", changes, err)
	}
	s.Cleanup(func() {
		cancel()
		go func() { // so that a backend that waits for its readers can be closed
			for range changes {
			}
		}()
	})
	return changes
}

// shown reports whether a change of the record shows in what Get returns.
type shown func(r backend.Record, err error) bool

func isCreated(_ backend.Record, err error) bool { return err == nil }
func isGone(_ backend.Record, err error) bool    { return errors.Is(err, backend.ErrNotFound) }
func isRevision(n uint64) shown {
	return func(r backend.Record, err error) bool { return err == nil && r.Revision >= n }
}

// hears reads from changes until each of the ids has come, or "", at a time when
// a Get showed its change. It returns all that has come. A backend may send an
// id more often than it must, so the only verdict is on one that never comes, or
// only too early.
func (s *store) hears(method string, changes <-chan string, b backend.Backend, is shown, ids ...string) map[string]bool {
	s.Helper()
	heard, early := make(map[string]bool), make(map[string]bool)
	pending := make(map[string]bool, len(ids))
	for _, id := range ids {
		pending[id] = true
	}
	look := func(id string) {
		if is(b.Get(s.ctx, id)) {
			delete(pending, id)
		} else {
			early[id] = true
		}
	}
	late := time.After(patience)
	for len(pending) > 0 {
		select {
		case id, open := <-changes:
			heard[id] = true
			switch {
			case !open:
				rule("the channel of Watch stays open").Fatalf(s, "it closed by itself")
			case id == "": // some may have been missed, so it could be any
				for id := range pending {
					look(id)
				}
			case pending[id]:
				look(id)
			}
		case <-late:
			for id := range pending {
				if early[id] {
					rule("Watch sends the ID after a new Get shows the change").Fatalf(s, "%s of %q was sent only while it did not", method, id)
				}
				rule(fmt.Sprintf("Watch sends the ID of every %s", method)).Fatalf(s, "%q did not come", id)
			}
		}
	}
	return heard
}

// everyChangeIsHeard makes changes through two handles and listens on one of
// them and on a third. The changes are made while it listens, so that one that
// is sent too early is found out.
func (s *store) everyChangeIsHeard(method string, exists bool, change func(b backend.Backend, id string) error, is shown) {
	s.Helper()
	all := s.handles(4)
	var ids []string
	for i := range 12 {
		ids = append(ids, fmt.Sprintf("key-%02d", i))
		if exists {
			s.create(all[0], backend.Record{ID: ids[i], Owner: "alice", Data: []byte("0"), PurgeAt: now})
		}
	}
	own, others := s.watch(s.ctx, all[0]), s.watch(s.ctx, all[2])
	var group sync.WaitGroup
	group.Go(func() {
		for i, id := range ids {
			if err := change(all[i%2], id); err != nil {
				rule(method+" returns nil").Errorf(s, "error is %v", err)
			}
		}
	})
	defer s.wait(obeys, &group)
	s.hears(method, own, all[3], is, ids...)
	s.hears(method, others, all[3], is, ids...)
}

func createIsHeard(s *store) {
	s.everyChangeIsHeard("Create", false, func(b backend.Backend, id string) error {
		return b.Create(s.ctx, backend.Record{ID: id, Owner: "alice", Data: []byte("d")})
	}, isCreated)
}

func updateIsHeard(s *store) {
	s.everyChangeIsHeard("Update", true, func(b backend.Backend, id string) error {
		return b.Update(s.ctx, backend.Record{ID: id, Data: []byte("1"), Revision: 1})
	}, isRevision(2))
}

func deleteIsHeard(s *store) {
	s.everyChangeIsHeard("Delete", true, func(b backend.Backend, id string) error { return b.Delete(s.ctx, id) }, isGone)
}

// purgeIsHeard purges as often as there are IDs, one at a time.
func purgeIsHeard(s *store) {
	s.everyChangeIsHeard("Purge", true, func(b backend.Backend, _ string) error {
		_, err := b.Purge(s.ctx, now, 1)
		return err
	}, isGone)
}

// touchSendsNothing waits for a change that was made after the touches: they
// would have come by then.
func touchSendsNothing(s *store) {
	all := s.handles(2)
	changes := s.watch(s.ctx, all[0])
	used := make(map[string]time.Time)
	var ids []string
	for i := range 5 {
		ids = append(ids, fmt.Sprintf("touched-%d", i))
		s.create(all[0], backend.Record{ID: ids[i], Owner: "alice", Data: []byte("d")})
		used[ids[i]] = now
	}
	marker := s.create(all[0], backend.Record{ID: "marker", Owner: "alice", Data: []byte("0")})
	s.hears("Create", changes, all[0], isCreated, append(ids, marker.ID)...)
	marker.Data = []byte("1")
	marker = s.update(all[0], marker)
	s.hears("Update", changes, all[0], isRevision(2), marker.ID) // whatever came twice has come by now

	for _, b := range all {
		s.touch(b, used)
		for id, at := range used {
			used[id] = at.Add(time.Second)
		}
	}
	marker.Data = []byte("2")
	s.update(all[1], marker)
	for id := range s.hears("Update", changes, all[0], isRevision(3), marker.ID) {
		if strings.HasPrefix(id, "touched") {
			rule("Touch sends nothing").Errorf(s, "%q came", id)
		}
	}
}

// slowReader makes more changes than a buffer is likely to hold before it begins
// to read. Then the last change of each record must have come, if only as "".
func slowReader(s *store) {
	const r = rule("a slow reader never blocks a writer")
	const writers, each = 8, 260
	all := s.handles(2)
	changes := s.watch(s.ctx, all[0])
	ids := make([]string, writers)
	var group sync.WaitGroup
	for i := range ids {
		ids[i] = fmt.Sprintf("key-%d", i)
		group.Go(func() {
			b := all[i%2]
			err := b.Create(s.ctx, backend.Record{ID: ids[i], Owner: "alice", Data: []byte("d")})
			for n := uint64(1); err == nil && n < each; n++ {
				err = b.Update(s.ctx, backend.Record{ID: ids[i], Data: fmt.Append(nil, n), Revision: n})
			}
			if err != nil {
				r.Errorf(s, "error is %v", err)
			}
		})
	}
	s.wait(r, &group)
	s.hears("Update, if late", changes, all[1], isRevision(each), ids...)
}

func watchEndsWithContext(s *store) {
	all := s.handles(2)
	others := s.watch(s.ctx, all[0])
	ctx, cancel := context.WithCancel(s.ctx)
	changes := s.watch(ctx, all[0])
	for i := range 20 { // are not read
		s.create(all[1], backend.Record{ID: fmt.Sprintf("key-%d", i), Owner: "alice", Data: []byte("d")})
	}
	cancel()
	s.ends("the channel of Watch closes when the context ends", changes)
	s.create(all[1], backend.Record{ID: "later", Owner: "alice", Data: []byte("d")})
	s.hears("Create, to the readers that are left", others, all[1], isCreated, "later")
}

func watchEndsWithBackend(s *store) {
	all := s.handles(3)
	changes, others := s.watch(s.ctx, all[0]), s.watch(s.ctx, all[1])
	for i := range 20 { // are not read
		s.create(all[2], backend.Record{ID: fmt.Sprintf("key-%d", i), Owner: "alice", Data: []byte("d")})
	}
	s.close(all[0])
	s.ends("the channel of Watch closes when the backend is closed", changes)
	s.create(all[2], backend.Record{ID: "later", Owner: "alice", Data: []byte("d")})
	s.hears("Create, to the handles that are left", others, all[2], isCreated, "later")
}

// ends reads what is left in changes up to its end.
func (s *store) ends(r rule, changes <-chan string) {
	s.Helper()
	late := time.After(patience)
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-late:
			r.Fatalf(s, "it is open")
		}
	}
}
