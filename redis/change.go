package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// change is a write of one record, or of the counts of one key.
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
	answer     answer

	open  atomic.Bool // whether an attempt is under way, or may have been executed
	doubt error       // of the first attempt that may have been executed
	err   error       // of the call, once it is settled
}

// answer makes the answer of the contract of the reply of a script. If there is a
// doubt, an earlier attempt may have been executed.
type answer func(reply any, doubt error) error

// apply makes the change.
func (b *Backend) apply(ctx context.Context, repeatable bool, i invocation, a answer) error {
	if err := b.enter(ctx); err != nil {
		return refused(err)
	}
	c := &change{b: b, invocation: i, repeatable: repeatable, answer: a}
	tries, many := maxTries, false
	if i.script == spendScript { // a lookup waits for it
		tries, many = spendTries, b.coalescer.begin()
		defer b.coalescer.end()
	}
	if repeatable && c.quick(ctx, many) {
		b.work.Done()
		return c.err
	}
	_, err := await(ctx, b, c.abandon, func() (struct{}, error) {
		for try := 1; !c.attempt(ctx, c.alone); try++ {
			if try == tries || !b.pause(ctx, try) {
				c.giveUp(ctx)
				break
			}
		}
		return struct{}{}, c.err
	})
	return err
}

// quick makes a first attempt from the goroutine of the caller, and reports whether
// that settles it. If there are many like it, they are sent together.
func (c *change) quick(ctx context.Context, many bool) bool {
	if counts := c.keys[0]; many && c.b.coalescer.claim(counts) {
		defer c.b.coalescer.release(counts)
		settled := c.attempt(ctx, c.gathered)
		if !settled && ended(ctx) != nil {
			c.giveUp(ctx)
			settled = true
		}
		return settled
	}
	attempt := c.b.direct.begin(ctx)
	if attempt == nil {
		return false
	}
	settled := c.attempt(attempt, c.alone)
	if !settled {
		c.b.direct.failed(attempt)
	}
	return settled
}

func (c *change) alone(ctx context.Context) (any, error) { return c.run(ctx, c.b.client) }

var (
	errNotSent = errors.New("the command was not sent with others")
	errNoReply = errors.New("there was no reply")
)

// gathered sends the change with those of others. That the server does not know the
// script, or has not the key, is left to the next attempt.
func (c *change) gathered(ctx context.Context) (any, error) {
	cmd := c.command(context.Background(), false)
	switch c.b.coalescer.send(ctx, c.keys[0], cmd) {
	case notSent:
		return nil, errNotSent
	case noReply:
		return nil, errNoReply
	}
	reply, err := cmd.Result()
	if reply == nil && err == nil {
		err = errNoReply // a hook of the client's did not let it through
	}
	return reply, err
}

// attempt sends the change once, and reports whether that settles it.
func (c *change) attempt(ctx context.Context, send func(context.Context) (any, error)) bool {
	c.open.Store(true) // before the context is looked at: see abandon
	if ctx.Err() != nil {
		c.err = contextError(ctx)
		c.giveUp(ctx)
		return true
	}
	// Each attempt has a message of its own: what the one before did may have been
	// undone since, and then this one is another change.
	if c.script.tells {
		c.args[messageArg] = messageEnd()
	}
	reply, err := send(ctx)
	if err == nil {
		c.err = c.answer(reply, c.doubt)
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

// recordChanged is the answer of the scripts that write a record. What the reply
// says is no answer if an earlier attempt may have caused it.
func recordChanged(reply any, doubt error) error {
	var err error
	switch text, _ := reply.(string); text {
	case "ok":
		return nil
	case "none":
		err = errGone
	case "exists":
		err = backend.ErrExists
	case "conflict":
		err = errConflict
	case "version":
		err = refused(fmt.Errorf("redis: not changed: %w", envelope.ErrVersion))
	case "malformed":
		err = refused(fmt.Errorf("redis: not changed: %w", envelope.ErrMalformed))
	default:
		return errReply
	}
	if doubt != nil {
		return unknownOutcome(doubt)
	}
	return err
}

// recordDeleted is that of the script that deletes one.
func recordDeleted(reply any, _ error) error {
	if text, _ := reply.(string); text == "ok" || text == "none" {
		return nil
	}
	return errReply
}

var errReply = errors.New("redis: a script returned what it never does")
