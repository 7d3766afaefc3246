// Package hub tells the watchers of an in-process store which records changed,
// without ever making a writer wait for a reader.
package hub

import (
	"context"
	"sync"
)

// maxPending is how many changed IDs wait for one slow reader before they are
// replaced by a single "", which says that some were missed.
const maxPending = 1024

// Hub passes changed IDs from the writers of a store to its watchers. The zero
// value is ready. It is safe for concurrent use.
type Hub struct {
	mu   sync.Mutex
	subs map[*subscription]struct{}
}

// subscription is one reader's queue. An ID that already waits is not added
// again: the reader has yet to look, and will then see the newer change too.
type subscription struct {
	mu      sync.Mutex
	queue   []string
	waiting map[string]bool
	missed  bool
	wake    chan struct{} // holds one token while there is something to take
}

// Notify tells every watcher that the record changed. It is called after a new
// read shows the change, and never blocks.
func (h *Hub) Notify(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		s.add(id)
	}
}

// Watch subscribes; the subscription is in force when it returns. The channel
// closes when ctx ends or closed is closed.
func (h *Hub) Watch(ctx context.Context, closed <-chan struct{}) <-chan string {
	s := &subscription{waiting: make(map[string]bool), wake: make(chan struct{}, 1)}
	h.mu.Lock()
	if h.subs == nil {
		h.subs = make(map[*subscription]struct{})
	}
	h.subs[s] = struct{}{}
	h.mu.Unlock()

	out := make(chan string)
	go func() {
		defer close(out)
		defer h.remove(s)
		s.deliver(ctx, closed, out)
	}()
	return out
}

func (h *Hub) remove(s *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, s)
}

func (s *subscription) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.missed || s.waiting[id]:
	case len(s.queue) == maxPending:
		s.queue, s.missed = nil, true
		clear(s.waiting)
	default:
		s.queue = append(s.queue, id)
		s.waiting[id] = true
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscription) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.queue
	if s.missed {
		batch = []string{""}
	}
	s.queue, s.missed = nil, false
	clear(s.waiting)
	return batch
}

func (s *subscription) deliver(ctx context.Context, closed <-chan struct{}, out chan<- string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-closed:
			return
		case <-s.wake:
		}
		for _, id := range s.take() {
			select {
			case <-ctx.Done():
				return
			case <-closed:
				return
			case out <- id:
			}
		}
	}
}
