package keystore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

// dice are a random source for many goroutines.
type dice struct {
	mu     sync.Mutex
	random *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{random: rand.New(rand.NewPCG(seed, 0))} }

func (d *dice) roll(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.random.IntN(n)
}

// upTo is a time shorter than max.
func (d *dice) upTo(max time.Duration) time.Duration { return time.Duration(d.roll(int(max))) }

func oneOf[T any](d *dice, of ...T) T { return of[d.roll(len(of))] }

// unruly is a backend on a bad network: slow before and after, down at times, and
// with replies that are lost.
type unruly struct {
	backend.Backend
	*dice
	delay time.Duration // mostly less than this, each way
	down  *atomic.Bool
}

func (b *unruly) travel(ctx context.Context) error {
	takes := b.upTo(b.delay)
	if b.roll(40) == 0 {
		takes *= 50
	}
	select {
	case <-time.After(takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *unruly) call(ctx context.Context, do func() error) error {
	if err := b.travel(ctx); err != nil {
		return err
	}
	if b.down.Load() {
		return errors.New("down")
	}
	answer := do()
	if err := b.travel(ctx); err != nil {
		return err
	}
	if b.roll(60) == 0 {
		return errors.New("the reply is lost")
	}
	return answer
}

func (b *unruly) Create(ctx context.Context, r backend.Record) error {
	return b.call(ctx, func() error { return b.Backend.Create(ctx, r) })
}

func (b *unruly) Get(ctx context.Context, id string) (r backend.Record, err error) {
	err = b.call(ctx, func() (err error) { r, err = b.Backend.Get(ctx, id); return err })
	return r, err
}

func (b *unruly) Update(ctx context.Context, r backend.Record) error {
	return b.call(ctx, func() error { return b.Backend.Update(ctx, r) })
}

func (b *unruly) Delete(ctx context.Context, id string) error {
	return b.call(ctx, func() error { return b.Backend.Delete(ctx, id) })
}

// unrulyWatch tells of two changes in three, sends "" for no reason, and hangs up
// after some time.
type unrulyWatch struct {
	*unruly
	watcher backend.Watcher
}

func (b unrulyWatch) Watch(ctx context.Context) (<-chan string, error) {
	ctx, cancel := context.WithTimeout(ctx, 1+b.upTo(3*time.Second))
	in, err := b.watcher.Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	out := make(chan string)
	go func() {
		defer cancel()
		defer close(out)
		for id := range in {
			switch b.roll(20) {
			case 0, 1, 2, 3, 4, 5:
				continue
			case 6:
				id = ""
			}
			select {
			case out <- id:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
