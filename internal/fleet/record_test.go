package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// counted is a backend that counts reads by id, so that lookups which need none can
// be told from others, and notes what Watch tells.
type counted struct {
	backend.Backend
	watcher backend.Watcher
	reads   sync.Map // of id: *reads
	told    sync.Map // ids that Watch told of
}

// reads are those of one id.
type reads struct{ begun, done atomic.Int64 }

func newCounted(b backend.Backend) (*counted, error) {
	w, ok := b.(backend.Watcher)
	if !ok {
		return nil, errors.New("the backend tells nobody of changes")
	}
	return &counted{Backend: b, watcher: w}, nil
}

func (c *counted) of(id string) *reads {
	r, _ := c.reads.LoadOrStore(id, new(reads))
	return r.(*reads)
}

func (c *counted) Get(ctx context.Context, id string) (backend.Record, error) {
	r := c.of(id)
	r.begun.Add(1)
	defer r.done.Add(1)
	return c.Backend.Get(ctx, id)
}

func (c *counted) Watch(ctx context.Context) (<-chan string, error) {
	changes, err := c.watcher.Watch(ctx)
	if err != nil {
		return nil, err
	}
	noted := make(chan string)
	go func() {
		defer close(noted)
		for id := range changes {
			c.told.Store(id, true)
			select {
			case noted <- id:
			case <-ctx.Done():
				return
			}
		}
	}()
	return noted, nil
}

func (c *counted) forget(ids []string) {
	for _, id := range ids {
		c.told.Delete(id)
	}
}

// heard reports whether Watch has told of one of the ids.
func (c *counted) heard(ids ...string) bool {
	for _, id := range ids {
		if _, told := c.told.Load(id); told {
			return true
		}
	}
	return false
}

// lookup calls look, and reports whether no read was under way meanwhile.
func (r *reads) lookup(look func() error) (hit bool, err error) {
	before := r.begun.Load()
	idle := r.done.Load() == before
	err = look()
	return idle && r.begun.Load() == before, err
}

// outcome is what a lookup comes to.
type outcome int

const (
	accepted outcome = iota
	refused
	outage
	wrong // never right
)

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return accepted
	case errors.Is(err, keystore.ErrUnavailable):
		return outage
	case errors.Is(err, keystore.ErrUnauthenticated), errors.Is(err, keystore.ErrMissingScope):
		return refused
	}
	return wrong
}

func reason(err error) string {
	var refusal *keystore.LookupError
	if errors.As(err, &refusal) {
		return string(refusal.Reason)
	}
	return fmt.Sprint(err)
}

// most is how many details of one kind are kept of a key.
const most = 20

// seen gathers the observation of a key. It is safe for concurrent use.
type seen struct {
	mu sync.Mutex
	observation
}

// old enters a lookup with the old token.
func (s *seen) old(began, ended int64, hit bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.Old
	result := outcomeOf(err)
	switch result {
	case accepted:
		o.Accepted++
		o.LastAccepted = max(o.LastAccepted, began)
	case refused:
		o.Refused++
		if o.FirstRefusal.Began == 0 || ended < o.FirstRefusal.Ended {
			o.FirstRefusal = answer{began, ended, reason(err)}
		}
	case outage:
		o.Outages++
	case wrong:
		s.addWrong("the old token: %v", err)
	}
	if result != outage {
		o.LastAnswered = max(o.LastAnswered, began)
	}
	n := len(o.Hits)
	open := n > 0 && o.Hits[n-1].Ended == 0
	switch hit = hit && result == accepted; {
	case hit && open:
		h := &o.Hits[n-1]
		h.Count++
		h.Last = max(h.Last, began)
	case hit:
		o.Hits = append(o.Hits, hits{Count: 1, First: began, Last: began})
	case open:
		o.Hits[n-1].Ended = began
	}
}

// fresh enters a lookup with the new token.
func (s *seen) fresh(began, ended int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.New
	switch outcomeOf(err) {
	case accepted:
		if n.Accepted++; n.Accepted == 1 {
			n.FirstAccepted = answer{Began: began, Ended: ended}
		}
		n.Longest = max(n.Longest, ended-began)
	case refused:
		n.Refused++
		a := answer{began, ended, reason(err)}
		if len(n.Refusals) < most {
			n.Refusals = append(n.Refusals, a)
		}
		if began > n.LastRefusal.Began {
			n.LastRefusal = a
		}
	case outage:
		n.Outages++
	case wrong:
		s.addWrong("the new token: %v", err)
	}
}

// wrongSecret enters a lookup with a token that was never issued.
func (s *seen) wrongSecret(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if result := outcomeOf(err); result == accepted || result == wrong {
		s.addWrong("a token that was never issued: %v", err)
	}
}

func (s *seen) addWrong(format string, args ...any) {
	if len(s.Wrong) < most {
		s.Wrong = append(s.Wrong, fmt.Sprintf(format, args...))
	}
}

// hitsInARow is how many lookups were the last to be accepted without a read.
func (s *seen) hitsInARow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.Old.Hits)
	if n == 0 || s.Old.Hits[n-1].Ended != 0 {
		return 0
	}
	return s.Old.Hits[n-1].Count
}

func (s *seen) lastAnswered() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Old.LastAnswered
}

// snapshot is what was seen so far.
func (s *seen) snapshot() observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.observation
	o.Old.Hits, o.New.Refusals, o.Wrong = slices.Clone(o.Old.Hits), slices.Clone(o.New.Refusals), slices.Clone(o.Wrong)
	return o
}
