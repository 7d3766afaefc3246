package redis

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
	"example.com/keystore/internal/hub"
)

// Watch implements [backend.Watcher] for the changes made by scripts of this
// package through any handle. It sends "" when the subscription is lost and again
// when there is a new one, and whenever it is not sure that it would hear of
// a change; see Options.ProbeInterval. It ends when ctx ends, and with the client.
func (b *Backend) Watch(ctx context.Context) (<-chan string, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	own, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.life, cancel)
	w := &watch{b: b, nonce: rand.Text(), expected: make(map[string]bool)}
	changes := w.hub.Watch(own, b.life.Done())
	ready := make(chan error, 1)
	go func() {
		defer b.work.Done()
		defer stop()
		defer cancel() // which closes changes
		w.run(own, ready)
	}()
	var err error
	select {
	case err = <-ready:
	case <-own.Done():
		err = own.Err()
	}
	switch {
	case err == nil:
		return changes, nil
	case ctx.Err() != nil:
		err = contextError(ctx)
	case b.isClosing():
		err = backend.ErrClosed
	}
	cancel()
	return nil, err
}

// watch is the state of one Watch.
type watch struct {
	b     *Backend
	hub   hub.Hub
	nonce string // in the probes of this watch

	mu       sync.Mutex
	round    int
	expected map[string]bool // probes that were published and have not come back
}

// missed tells the reader that it may have missed changes.
func (w *watch) missed() { w.hub.Notify("") }

// run subscribes until ctx ends or the client is closed.
func (w *watch) run(ctx context.Context, ready chan<- error) {
	s, err := w.subscribe(ctx)
	ready <- err
	for err == nil {
		w.guard(ctx, s)
		s.close()
		w.missed()
		if s, err = w.resubscribe(ctx); err == nil {
			w.missed()
		}
	}
}

// resubscribe tries until it succeeds, ctx ends or the client is closed.
func (w *watch) resubscribe(ctx context.Context) (*subscription, error) {
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s, err := w.subscribe(ctx)
		if err == nil || unsentForGood(err) {
			return s, err
		}
		select {
		case <-time.After(min(10*time.Millisecond<<min(try, 10), w.b.options.ProbeInterval)):
		case <-ctx.Done():
		}
	}
}

// subscription is a connection on which the server sends what is published.
type subscription struct {
	pubsub    *goredis.PubSub
	end       context.CancelFunc // of what go-redis does to repair it
	confirmed chan struct{}      // closed when it is in force
	lost      chan struct{}      // closed when it is not any more, or never will be
	err       error              // why; set before lost is closed
}

func (s *subscription) close() {
	s.end()
	_ = s.pubsub.Close()
	<-s.lost
}

// subscribe returns a subscription that is in force. It waits for that as long as
// for a probe, or a second.
func (w *watch) subscribe(ctx context.Context) (*subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, max(w.b.options.ProbeInterval, time.Second))
	defer cancel()
	s := &subscription{
		pubsub:    w.b.client.Subscribe(ctx, w.b.names.channel), // an error comes with the first Receive
		confirmed: make(chan struct{}),
		lost:      make(chan struct{}),
	}
	var alive context.Context
	alive, s.end = context.WithCancel(context.Background())
	go w.receive(alive, s)
	select {
	case <-s.confirmed:
		return s, nil
	case <-s.lost:
		s.close()
		return nil, failed(s.err)
	case <-ctx.Done():
		s.close()
		return nil, contextError(ctx)
	}
}

// receive reads until the subscription fails or is closed. It never waits for the
// reader of the watch. go-redis would subscribe again by itself, and lose messages
// meanwhile: that is taken for a failure as well.
func (w *watch) receive(alive context.Context, s *subscription) {
	defer close(s.lost)
	for {
		// Without a deadline: one that passes amid a message would lose its beginning.
		message, err := s.pubsub.Receive(alive)
		if err != nil {
			s.err = err
			return
		}
		switch m := message.(type) {
		case *goredis.Subscription:
			select {
			case <-s.confirmed:
				return
			default:
				close(s.confirmed)
			}
		case *goredis.Message:
			w.hear(m.Payload)
		}
	}
}

// probeMark begins what is published to see whether it arrives. No id begins so.
const probeMark = "?"

func (w *watch) hear(payload string) {
	switch {
	case validID(payload):
		w.hub.Notify(payload)
	case strings.HasPrefix(payload, probeMark):
		w.mu.Lock()
		delete(w.expected, payload)
		w.mu.Unlock()
	default: // of a later version, perhaps
		w.missed()
	}
}
