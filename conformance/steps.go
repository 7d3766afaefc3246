package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

// now is the present of every check. It does not pass.
var now = time.Date(2031, time.March, 4, 12, 30, 15, int(678*time.Millisecond), time.UTC)

const onceInWalk = rule("a record appears in a walk exactly once")

// create stores r and returns what the store must hold from then on.
func (s *store) create(b backend.Backend, r backend.Record) backend.Record {
	s.Helper()
	s.ok("Create stores a record whose ID is free", b.Create(s.ctx, r))
	r.Revision, r.LastUsed = 1, time.Time{}
	return r
}

// update stores r and returns what the store must hold from then on.
func (s *store) update(b backend.Backend, r backend.Record) backend.Record {
	s.Helper()
	s.ok("Update succeeds if the stored Revision is r.Revision", b.Update(s.ctx, r))
	r.Revision++
	return r
}

func (s *store) get(b backend.Backend, id string) backend.Record {
	s.Helper()
	r, err := b.Get(s.ctx, id)
	s.ok("Get returns the record", err)
	return r
}

func (s *store) delete(b backend.Backend, id string) {
	s.Helper()
	s.ok("Delete returns nil", b.Delete(s.ctx, id))
}

func (s *store) touch(b backend.Backend, used map[string]time.Time) {
	s.Helper()
	s.ok("Touch returns nil", b.Touch(s.ctx, used))
}

// purge calls Purge once.
func (s *store) purge(b backend.Backend, at time.Time, limit int) int {
	s.Helper()
	n, err := b.Purge(s.ctx, at, limit)
	s.ok("Purge returns how many it deleted", err)
	if n < 0 || n > limit {
		rule("Purge deletes at most limit records").Fatalf(s, "it says %d at a limit of %d", n, limit)
	}
	return n
}

// purgeAll calls Purge until nothing is left for it.
func (s *store) purgeAll(b backend.Backend, at time.Time) int {
	s.Helper()
	total := 0
	for range 1000 {
		n := s.purge(b, at, backend.MaxLimit)
		if n == 0 {
			return total
		}
		total += n
	}
	rule("Purge returns how many it deleted").Fatalf(s, "it says %d of a store of fewer than 300, and goes on", total)
	return 0
}

// list reads one page and checks what is true of every page.
func (s *store) list(b backend.Backend, o backend.ListOptions) []backend.Record {
	s.Helper()
	page, err := b.List(s.ctx, o)
	s.ok("List returns a page", err)
	if len(page) > o.Limit {
		rule("List returns at most o.Limit records").Fatalf(s, "%d came at a limit of %d", len(page), o.Limit)
	}
	last := o.After
	for i, r := range page {
		switch {
		case o.Owner != "" && r.Owner != o.Owner:
			rule("List returns only this owner's records").Fatalf(s, "owner of %q is %q, want %q", r.ID, r.Owner, o.Owner)
		case r.ID <= o.After:
			rule("List returns only IDs greater than After").Fatalf(s, "%q came after %q", r.ID, o.After)
		case i > 0 && r.ID == last:
			onceInWalk.Fatalf(s, "%q came twice", r.ID)
		case r.ID < last:
			inOrder.Fatalf(s, "%q came after %q", r.ID, last)
		}
		last = r.ID
	}
	return page
}

// walk reads page after page to the end, which only an empty page is.
func (s *store) walk(b backend.Backend, o backend.ListOptions) []backend.Record {
	s.Helper()
	var all []backend.Record
	for range 600 {
		page := s.list(b, o)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		o.After = page[len(page)-1].ID
	}
	rule("a walk ends with an empty page").Fatalf(s, "%d records came, and no end", len(all))
	return nil
}

// all returns every record of the owner, or of all owners if it is "".
func (s *store) all(b backend.Backend, owner string) []backend.Record {
	s.Helper()
	return s.walk(b, backend.ListOptions{Owner: owner, Limit: backend.MaxLimit})
}

// holds reports it if Get or List, of all owners or of one, do not return want.
func (s *store) holds(r rule, b backend.Backend, want backend.Record) {
	s.Helper()
	got, err := b.Get(s.ctx, want.ID)
	if err != nil {
		r.Errorf(s, "Get of %q: error is %v", want.ID, err)
	} else {
		s.same(r, got, want)
	}
	for _, owner := range []string{"", want.Owner} {
		found := false
		for _, listed := range s.all(b, owner) {
			if listed.ID == want.ID {
				found = true
				s.same(r, listed, want)
			}
		}
		if !found {
			r.Errorf(s, "List of owner %q lacks %q", owner, want.ID)
		}
	}
}

// lacks reports it if Get or List know of the record.
func (s *store) lacks(r rule, b backend.Backend, id string) {
	s.Helper()
	if got, err := b.Get(s.ctx, id); !errors.Is(err, backend.ErrNotFound) {
		r.Errorf(s, "Get of %q: revision is %d, error is %v, want %v", id, got.Revision, err, backend.ErrNotFound)
	}
	for _, listed := range s.all(b, "") {
		if listed.ID == id {
			r.Errorf(s, "List has %q", id)
		}
	}
}

// same reports every field in which got is not want.
func (s *store) same(r rule, got, want backend.Record) {
	s.Helper()
	if d := diff(got, want); d != "" {
		r.Errorf(s, "record %q: %s", want.ID, d)
	}
}

// listed reports it if the IDs of records are not exactly ids.
func (s *store) listed(r rule, records []backend.Record, ids []string) {
	s.Helper()
	got := make([]string, len(records))
	for i, record := range records {
		got[i] = record.ID
	}
	if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", ids); g != w {
		r.Errorf(s, "listed are %s, want %s", g, w)
	}
}

// diff says in which fields got is not want, and "" if it is. Data of no bytes
// may be nil or empty.
func diff(got, want backend.Record) string {
	var d []string
	note := func(field string, got, want any) {
		d = append(d, fmt.Sprintf("%s is %v, want %v", field, got, want))
	}
	if got.ID != want.ID {
		note("ID", fmt.Sprintf("%q", got.ID), fmt.Sprintf("%q", want.ID))
	}
	if got.Owner != want.Owner {
		note("owner", fmt.Sprintf("%q", got.Owner), fmt.Sprintf("%q", want.Owner))
	}
	if !bytes.Equal(got.Data, want.Data) {
		note("data", abridge(got.Data), abridge(want.Data))
	}
	if !sameTime(got.PurgeAt, want.PurgeAt) {
		note("purge-at", got.PurgeAt, want.PurgeAt)
	}
	if !sameTime(got.LastUsed, want.LastUsed) {
		note("last-used", got.LastUsed, want.LastUsed)
	}
	if got.Revision != want.Revision {
		note("revision", got.Revision, want.Revision)
	}
	return strings.Join(d, "; ")
}

// sameTime reports whether got is the instant want, in UTC.
func sameTime(got, want time.Time) bool {
	return got.Equal(want) && got.Location().String() == "UTC"
}

func abridge(data []byte) string {
	if len(data) <= 40 {
		return fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%q… (%d bytes)", data[:40], len(data))
}

// together calls f(0) to f(n-1) at once and waits for them. Which is a little
// ahead of the others is left to chance. In f, failures are reported with Errorf.
func (s *store) together(n int, f func(i int)) {
	s.Helper()
	start := make(chan struct{})
	var group sync.WaitGroup
	for _, i := range rand.Perm(n) {
		group.Go(func() { <-start; f(i) })
	}
	close(start)
	s.wait(obeys, &group)
}

// during calls work on n goroutines again and again until f has returned. By pass,
// f waits for some work to be done, so as not to be over before it has begun.
func (s *store) during(n int, work func(worker, round int) error, f func(pass func())) {
	s.Helper()
	var over atomic.Bool
	var group sync.WaitGroup
	rounds := make(chan struct{})
	for w := range n {
		group.Go(func() {
			for round := 0; !over.Load(); round++ {
				if err := work(w, round); err != nil {
					rule("calls at the same time do not fail").Errorf(s, "worker %d: %v", w, err)
					return
				}
				select {
				case rounds <- struct{}{}:
				default:
				}
			}
		})
	}
	go func() { group.Wait(); close(rounds) }()
	defer s.wait(obeys, &group) // also if f ends the check
	defer over.Store(true)
	f(func() {
		select {
		case <-rounds:
		case <-s.ctx.Done():
		}
	})
}

// amid calls work on n goroutines and f once, in the midst of it: when the work
// has said a few times by its argument that it calls the backend.
func (s *store) amid(n int, work func(worker int, calls func()), f func()) {
	s.Helper()
	var called atomic.Int64
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	s.together(n+1, func(i int) {
		if i == n {
			<-begun
			f()
			return
		}
		defer begin()
		work(i, func() {
			if called.Add(1) > int64(2*n) {
				begin()
			}
		})
	})
}

const obeys = rule("a driver obeys the deadline of the context")

// wait waits until the group is done, a while longer than the context allows it.
func (s *store) wait(r rule, group *sync.WaitGroup) {
	s.Helper()
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-s.ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(patience):
		r.Errorf(s, "a call still has not returned")
		s.FailNow()
	}
}
