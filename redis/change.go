package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// change is a write of one record.
//
// go-redis is told not to repeat it, since only the driver knows what its answer
// means after an attempt that got no reply: such an attempt may have been executed,
// then or later. The script tells whether what is stored is what it writes, so it
// may be repeated; but that the record is there, has another revision or is gone
// may then be its own doing, or that of a writer who came after.
type change struct {
	b *Backend
	invocation
	repeatable bool

	open  atomic.Bool // whether an attempt is under way, or may have been executed
	doubt error       // of the first attempt that may have been executed
	err   error       // of the call, once it is settled
}

// apply makes the change.
func (b *Backend) apply(ctx context.Context, repeatable bool, i invocation) error {
	if err := b.enter(ctx); err != nil {
		return refused(err)
	}
	c := &change{b: b, invocation: i, repeatable: repeatable}
	if repeatable {
		if attempt := b.direct.begin(ctx); attempt != nil {
			if c.attempt(attempt) {
				b.work.Done()
				return c.err
			}
			b.direct.failed(attempt)
		}
	}
	_, err := await(ctx, b, c.abandon, func() (struct{}, error) {
		for try := 1; !c.attempt(ctx); try++ {
			if !b.pause(ctx, try) {
				c.giveUp(ctx)
				break
			}
		}
		return struct{}{}, c.err
	})
	return err
}

// attempt sends the change once, and reports whether that settles it.
func (c *change) attempt(ctx context.Context) bool {
	c.open.Store(true) // before the context is looked at: see abandon
	if ctx.Err() != nil {
		c.err = contextError(ctx)
		c.giveUp(ctx)
		return true
	}
	// Each attempt has a message of its own: what the one before did may have been
	// undone since, and then this one is another change.
	c.args[messageArg] = messageEnd()
	reply, err := c.run(ctx, c.b.client)
	if err == nil {
		c.err = c.answer(reply)
		return true
	}
	c.b.noAnswer(err)
	switch {
	case certain(err):
		c.open.Store(c.doubt != nil)
		c.err = failed(err)
		if worthRetrying(err) {
			return false
		}
	default:
		if c.doubt == nil {
			c.doubt = err
		}
		if c.repeatable {
			return false
		}
	}
	c.giveUp(ctx)
	return true
}

// giveUp makes the error of a call that has got no answer.
func (c *change) giveUp(ctx context.Context) {
	switch {
	case c.doubt != nil:
		c.err = withEnd(ctx, unknownOutcome(c.doubt))
	case c.b.isClosing():
		c.err = backend.ErrClosed
	default:
		c.err = refused(withEnd(ctx, c.err))
	}
}

// abandon makes the error of a call whose context has ended. No attempt begins any
// more then, so between two of them the outcome is known.
func (c *change) abandon(ctx context.Context) error {
	if c.open.Load() {
		return endedDuring(ctx)
	}
	return refused(contextError(ctx))
}

// answer turns the reply of a script into the answer of the contract, which it is
// not if an earlier attempt may have caused it.
func (c *change) answer(reply any) error {
	var err error
	switch text, _ := reply.(string); {
	case text == "ok", text == "none" && c.script == deleteScript:
		return nil
	case text == "none":
		err = errGone
	case text == "exists":
		err = backend.ErrExists
	case text == "conflict":
		err = errConflict
	case text == "version":
		err = refused(fmt.Errorf("redis: not changed: %w", envelope.ErrVersion))
	case text == "malformed":
		err = refused(fmt.Errorf("redis: not changed: %w", envelope.ErrMalformed))
	default:
		return errors.New("redis: a script returned what it never does")
	}
	if c.doubt != nil {
		return unknownOutcome(c.doubt)
	}
	return err
}
