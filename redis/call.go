package redis

import (
	"context"
	"math/rand/v2"
	"time"

	"example.com/keystore/backend"
)

// enter admits a call. b.work.Done must follow when nothing of the call uses the
// client any more, be it after the call has returned.
func (b *Backend) enter(ctx context.Context) error {
	b.admission.RLock()
	defer b.admission.RUnlock()
	if b.closed {
		return backend.ErrClosed
	}
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	b.work.Add(1)
	return nil
}

// do runs work, which returns what it found and whether it may be repeated. It
// returns when ctx ends, with the error that giveUp makes. Work may go on then,
// until it notices: go-redis does not look at a context while it waits for a reply,
// if at all, and then at the deadline only. So work must own what it uses.
func do[T any](ctx context.Context, b *Backend, giveUp func(context.Context) error, work func() (T, error)) (T, error) {
	var none T
	if err := b.enter(ctx); err != nil {
		return none, refused(err)
	}
	if ctx.Done() == nil {
		defer b.work.Done()
		return work()
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer b.work.Done()
		v, err := work()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // both at once: the better answer
		return r.v, r.err
	default:
		return none, giveUp(ctx)
	}
}

// read is do for what changes nothing.
func read[T any](ctx context.Context, b *Backend, work func() (T, error)) (T, error) {
	return do(ctx, b, contextError, func() (T, error) {
		v, err := work()
		if err != nil && b.isClosing() {
			err = backend.ErrClosed
		}
		return v, err
	})
}

func (b *Backend) isClosing() bool { return b.life.Err() != nil }

// Retries of a write end after about 1.3 s, for a failover takes longer than a
// caller should wait without being told.
const (
	maxTries = 10
	maxPause = 250 * time.Millisecond
)

// pause waits before the next try, and reports whether there is to be one.
func (b *Backend) pause(ctx context.Context, try int) bool {
	if try >= maxTries || ctx.Err() != nil || b.isClosing() {
		return false
	}
	most := min(8*time.Millisecond<<try, maxPause)
	timer := time.NewTimer(most/2 + rand.N(most/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-b.life.Done():
	}
	return false
}

// mutate sends i until it is executed. An attempt that got no reply may have been:
// the first such error is returned beside the reply to a later attempt. Where
// repeating is wrong it ends the call, as an error.
func (b *Backend) mutate(ctx context.Context, i *invocation, repeatable bool) (reply any, doubt, err error) {
	for try := 1; ; try++ {
		reply, err := i.run(ctx, b.client)
		if err == nil {
			return reply, doubt, nil
		}
		again := repeatable
		if certain(err) {
			again = worthRetrying(err)
		} else if doubt == nil {
			doubt = err
		}
		if again && b.pause(ctx, try) {
			continue
		}
		switch {
		case doubt != nil:
			return nil, doubt, unknownOutcome(doubt)
		case b.isClosing():
			return nil, nil, backend.ErrClosed
		default:
			return nil, nil, refused(failed(err))
		}
	}
}
