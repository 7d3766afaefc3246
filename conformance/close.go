package conformance

import (
	"context"
	"fmt"
	"time"

	"example.com/keystore/backend"
)

var closeChecks = []check{
	{"every method returns ErrClosed", closedMethods},
	{"twice", closeTwice},
	{"other handles go on", othersGoOn},
	{"during calls", closeDuringCalls},
}

const othersWork = rule("closing a handle leaves the other handles of the store working")

func closedMethods(s *store) {
	b := s.handle()
	there := s.prepare(b)
	s.close(b)
	for _, c := range calls(b) {
		r := rule(fmt.Sprintf("after Close %s returns ErrClosed", c.method))
		s.is(r, c.do(s.ctx), backend.ErrClosed)
	}
	b = s.handle()
	s.holds("what returns ErrClosed has no effect", b, there)
	s.lacks("what returns ErrClosed has no effect", b, "new")
}

func closeTwice(s *store) {
	b := s.handle()
	s.prepare(b)
	s.close(b)
	s.close(b)
	b = s.handle()
	s.together(8, func(int) { s.close(b) })
	unused := s.handle()
	s.close(unused)
	s.close(unused)
}

func othersGoOn(s *store) {
	first, b, last := s.handle(), s.handle(), s.handle()
	want := s.prepare(first)
	s.close(first)
	s.holds(othersWork, b, want)
	s.close(last)
	for _, c := range calls(b) {
		if c.method == "Watch" {
			continue // has its own checks
		}
		if err := c.do(s.ctx); err != nil {
			othersWork.Errorf(s, "%s: error is %v", c.method, err)
		}
	}
	s.create(b, backend.Record{ID: "another", Owner: "alice", Data: []byte("d")})
	s.listed(othersWork, s.all(b, "alice"), []string{"another", "new"})
}

// closeDuringCalls closes the only handle while it is in use, and looks then for
// what was acknowledged.
func closeDuringCalls(s *store) {
	const r = rule("a call during Close returns what it does without, or ErrClosed")
	for range 4 {
		b := s.handle()
		s.ok("Create stores a record whose ID is free", b.Create(s.ctx, backend.Record{ID: "there", Owner: "alice", Data: []byte("d"), PurgeAt: now}))
		const callers = 6
		created := make([][]string, callers)
		s.amid(callers, func(i int, called func()) {
			for n := range 200 {
				called()
				id := fmt.Sprintf("new-%d-%03d", i, n)
				method, err := anyCall(s.ctx, b, n, id)
				switch answer := answerIn(err); {
				case answer == backend.ErrClosed:
					return
				case err != nil && answer == nil:
					r.Errorf(s, "%s: error is %v", method, err)
					return
				case err == nil && method == "Create":
					created[i] = append(created[i], id)
				}
			}
		}, func() { s.close(b) })
		_, err := b.Get(s.ctx, "there")
		s.is("after Close Get returns ErrClosed", err, backend.ErrClosed)

		b = s.handle()
		for _, ids := range created {
			for _, id := range ids {
				if _, err := b.Get(s.ctx, id); err != nil {
					rule("what was acknowledged before Close is stored").Errorf(s, "Get of %q: error is %v", id, err)
				}
				s.delete(b, id)
			}
		}
		s.delete(b, "there")
		s.close(b)
	}
}

// anyCall is Create of id, or another of the calls, by turns.
func anyCall(ctx context.Context, b backend.Backend, turn int, id string) (method string, err error) {
	all := calls(b)[1:8]
	if turn %= 8; turn < len(all) {
		return all[turn].method, all[turn].do(ctx)
	}
	return "Create", b.Create(ctx, backend.Record{ID: id, Owner: "alice", Data: []byte(id), PurgeAt: now.Add(time.Hour)})
}
