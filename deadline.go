package keystore

import (
	"context"
	"sync"
	"time"
)

// bound returns the context of one backend call: the caller's, with OpTimeout on
// top. End it when the call has returned.
func (s *Keystore) bound(ctx context.Context) *opContext {
	op := &opContext{Context: ctx}
	if s.opts.OpTimeout != Never {
		op.deadline = time.Now().Add(s.opts.OpTimeout)
	}
	return op
}

// opContext is a context.WithDeadline that starts its timer when Done is first
// asked for. A driver inside the process only asks Err, and the timer would be a
// tenth of the cost of its lookup.
type opContext struct {
	context.Context           // the caller's
	deadline        time.Time // zero: the caller's alone

	mu     sync.Mutex
	timed  context.Context
	cancel context.CancelFunc
	ended  bool
}

func (c *opContext) Deadline() (time.Time, bool) {
	d, ok := c.Context.Deadline()
	if c.deadline.IsZero() || ok && d.Before(c.deadline) {
		return d, ok
	}
	return c.deadline, true
}

func (c *opContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.start().Done()
}

func (c *opContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Err()
}

// Value lets the context package find the timed context as its own kind of
// parent, so that contexts derived from c need no goroutine.
func (c *opContext) Value(key any) any {
	c.mu.Lock()
	now := c.now()
	c.mu.Unlock()
	return now.Value(key)
}

// now is the context that says how c stands: the caller's, until c has ended
// before it or has a timer. The caller holds the lock.
func (c *opContext) now() context.Context {
	if c.timed == nil && (c.ended || !c.deadline.IsZero() && time.Until(c.deadline) <= 0) {
		return c.start()
	}
	if c.timed == nil {
		return c.Context
	}
	return c.timed
}

// start starts the timer, once. The caller holds the lock.
func (c *opContext) start() context.Context {
	if c.timed != nil {
		return c.timed
	}
	if c.deadline.IsZero() {
		c.timed, c.cancel = context.WithCancel(c.Context)
	} else {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	if c.ended {
		c.cancel()
	}
	return c.timed
}

func (c *opContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
