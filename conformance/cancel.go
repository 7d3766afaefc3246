package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/keystore/backend"
)

var cancelChecks = []check{
	{"a context that is cancelled", cancelledContext},
	{"a context whose deadline has passed", expiredContext},
	{"a context cancelled on the way", cancelledOnTheWay},
}

const (
	beforeEffect  = rule("a context that has ended is noticed before any effect")
	honestOutcome = rule("the outcome of a cancelled call is what it says, or unknown")
)

// call is a method with arguments by which, on the store that prepare fills, it
// would have an effect if it has one at all.
type call struct {
	method string
	do     func(ctx context.Context) error
}

// prepare fills the store with a record that every one of the calls applies to.
func (s *store) prepare(b backend.Backend) backend.Record {
	s.Helper()
	return s.create(b, backend.Record{ID: "there", Owner: "alice", Data: []byte("before"), PurgeAt: now})
}

func calls(b backend.Backend) []call {
	all := []call{
		{"Create", func(ctx context.Context) error {
			return b.Create(ctx, backend.Record{ID: "new", Owner: "alice", Data: []byte("d")})
		}},
		{"Get", func(ctx context.Context) error {
			_, err := b.Get(ctx, "there")
			return err
		}},
		{"Update", func(ctx context.Context) error {
			return b.Update(ctx, backend.Record{ID: "there", Data: []byte("after"), PurgeAt: now.Add(time.Hour), Revision: 1})
		}},
		{"Delete", func(ctx context.Context) error { return b.Delete(ctx, "there") }},
		{"List", func(ctx context.Context) error {
			_, err := b.List(ctx, backend.ListOptions{Limit: 10})
			return err
		}},
		{"List of an owner", func(ctx context.Context) error {
			_, err := b.List(ctx, backend.ListOptions{Owner: "alice", Limit: 10})
			return err
		}},
		{"Touch", func(ctx context.Context) error { return b.Touch(ctx, map[string]time.Time{"there": now}) }},
		{"Purge", func(ctx context.Context) error {
			_, err := b.Purge(ctx, now, 10)
			return err
		}},
	}
	if w, ok := b.(backend.Watcher); ok {
		all = append(all, call{"Watch", func(ctx context.Context) error {
			_, err := w.Watch(ctx)
			return err
		}})
	}
	return all
}

func cancelledContext(s *store) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.refuse(ctx, context.Canceled)
}

func expiredContext(s *store) {
	ctx, cancel := context.WithDeadline(s.ctx, time.Now().Add(-time.Hour))
	defer cancel()
	s.refuse(ctx, context.DeadlineExceeded)
}

// refuse checks that every method notices that ctx has ended.
func (s *store) refuse(ctx context.Context, want error) {
	s.Helper()
	b := s.handle()
	there := s.prepare(b)
	for _, c := range calls(b) {
		r := rule(fmt.Sprintf("%s returns %q if the context has ended", c.method, want))
		s.is(r, c.do(ctx), want)
		idle := beforeEffect
		s.lacks(idle, b, "new")
		s.holds(idle, b, there)
	}
}

// cancelledOnTheWay cancels calls at a moment that nobody knows. Whether they
// take effect is open, unless they say so.
func cancelledOnTheWay(s *store) {
	b := s.handle()
	for i := range 60 {
		id := fmt.Sprintf("key-%02d", i)
		after := backend.Record{ID: id, Owner: "alice", Data: []byte("after")}
		write, revision := b.Create, uint64(1)
		if i%2 == 1 {
			s.create(b, backend.Record{ID: id, Owner: "alice", Data: []byte("before")})
			after.Revision = 1
			write, revision = b.Update, 2
		}
		ctx, cancel := context.WithCancel(s.ctx)
		go cancel()
		err := write(ctx, after)
		cancel()

		got, getErr := b.Get(s.ctx, id)
		if getErr != nil && !errors.Is(getErr, backend.ErrNotFound) {
			honestOutcome.Errorf(s, "Get, which is not cancelled: error is %v", getErr)
		}
		happened := getErr == nil && got.Revision == revision
		switch {
		case err == nil && !happened:
			honestOutcome.Errorf(s, "a write returned nil and is not stored")
		case errors.Is(err, backend.ErrNotApplied) && happened:
			honestOutcome.Errorf(s, "a write returned %v and is stored", err)
		case answerIn(err) != nil:
			honestOutcome.Errorf(s, "error is %v, which is an answer", err)
		}
	}
	s.create(b, backend.Record{ID: "afterwards", Owner: "alice", Data: []byte("d")})
}
