package keystore

import (
	"context"
	"sync/atomic"
	"time"
)

// bound returns the context of one backend call: the caller's, with OpTimeout on
// top. End it when the call has returned.
func (s *Keystore) bound(ctx context.Context) *opContext { return boundBy(ctx, s.opts.OpTimeout) }

func boundBy(ctx context.Context, timeout time.Duration) *opContext {
	op := &opContext{Context: ctx}
	if timeout != Never {
		op.deadline = time.Now().Add(timeout)
	}
	return op
}

// opContext is a context.WithDeadline that starts its timer when Done is first
// asked for. A driver inside the process only asks Err, and the timer would be a
// tenth of the cost of its lookup.
type opContext struct {
	context.Context           // the caller's
	deadline        time.Time // zero: the caller's alone

	timed atomic.Pointer[timedContext]
	ended atomic.Bool
}

type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

func (c *opContext) Deadline() (time.Time, bool) {
	d, ok := c.Context.Deadline()
	if c.deadline.IsZero() || ok && d.Before(c.deadline) {
		return d, ok
	}
	return c.deadline, true
}

func (c *opContext) Done() <-chan struct{} { return c.start().Done() }

func (c *opContext) Err() error { return c.now().Err() }

// Value lets the context package find the timed context as its own kind of
// parent, so that contexts derived from c need no goroutine.
func (c *opContext) Value(key any) any { return c.now().Value(key) }

// now is the context that says how c stands: the caller's, until c has ended
// before it or has a timer.
func (c *opContext) now() context.Context {
	if timed := c.timed.Load(); timed != nil {
		return timed
	}
	if c.ended.Load() || !c.deadline.IsZero() && time.Until(c.deadline) <= 0 {
		return c.start()
	}
	return c.Context
}

// start starts the timer, once.
func (c *opContext) start() *timedContext {
	if timed := c.timed.Load(); timed != nil {
		return timed
	}
	timed := new(timedContext)
	if c.deadline.IsZero() {
		timed.Context, timed.cancel = context.WithCancel(c.Context)
	} else {
		timed.Context, timed.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	if !c.timed.CompareAndSwap(nil, timed) {
		timed.cancel() // another was faster
		return c.timed.Load()
	}
	if c.ended.Load() { // else end sees the timer
		timed.cancel()
	}
	return timed
}

func (c *opContext) end() {
	c.ended.Store(true)
	if timed := c.timed.Load(); timed != nil {
		timed.cancel()
	}
}
