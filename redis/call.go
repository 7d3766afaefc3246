package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	goredis "github.com/redis/go-redis/v9"

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

// await runs the work of a call that was admitted, and returns its results, or the
// error that giveUp makes when ctx ends first. Work may go on then, until it
// notices: go-redis looks at no context while it waits for a reply but for the
// deadline, and at that only if its settings say so. So work must own what it uses.
func await[T any](ctx context.Context, b *Backend, giveUp func(context.Context) error, work func() (T, error)) (T, error) {
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
		var none T
		return none, giveUp(ctx)
	}
}

// read admits a call that changes nothing, and awaits it.
func read[T any](ctx context.Context, b *Backend, work func() (T, error)) (T, error) {
	if err := b.enter(ctx); err != nil {
		var none T
		return none, err
	}
	return awaitRead(ctx, b, work)
}

func awaitRead[T any](ctx context.Context, b *Backend, work func() (T, error)) (T, error) {
	return await(ctx, b, contextError, func() (T, error) {
		v, err := work()
		switch {
		case err == nil, errors.Is(err, backend.ErrNotFound):
			return v, err
		case b.isClosing():
			return v, backend.ErrClosed
		}
		b.noAnswer(err)
		if ended(ctx) != nil {
			err = contextError(ctx)
		}
		return v, err
	})
}

// noAnswer notes an attempt that got no answer. In a cluster its server may be none of
// the masters any more: go-redis learns that from the answers of servers, and from
// one that is dead only when it happens to ask, which is once a minute.
func (b *Backend) noAnswer(err error) {
	cluster, ok := b.client.(*goredis.ClusterClient)
	if ok && (code(err) == "" || hasCode(err, passing...)) {
		cluster.ReloadState(b.life) // on a goroutine of its own, five times a second at most
	}
}

func (b *Backend) isClosing() bool { return b.life.Err() != nil }

// Writes are tried for about 1.3 s, for a failover takes longer than a caller should
// wait without being told.
// Spends are not: a lookup waits for them, and so they give up as soon as reads do,
// which go-redis sends four times.
const (
	maxTries   = 10
	spendTries = 3 // after that on the goroutine of the caller
	maxPause   = 250 * time.Millisecond
)

// pause waits after a try that failed, and reports whether there is to be another.
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
