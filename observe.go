package keystore

import (
	"context"
	"time"

	"example.com/keystore/backend"
)

// Observer is told of every operation of a Keystore, and of every call that it
// makes of the store, for traces and metrics. Package otelkeystore has one for
// OpenTelemetry.
type Observer interface {
	// Begin is called as an operation begins, on the goroutine of its caller: it
	// must be quick, lookups from the cache included, and safe for concurrent
	// use. The operation goes on with the context that it returns, which must
	// descend from ctx, and calls end once with its error.
	Begin(ctx context.Context, op Operation) (in context.Context, end func(err error))
}

// Operation is what an Observer is told of.
type Operation struct {
	// Name is that of the method in lower case with underscores: "lookup",
	// "revoke_all"; of a call of the store likewise: "get", "create".
	Name string
	// Store tells a call of the store from an operation of the Keystore. Some
	// are made in the background, outside any operation.
	Store bool
	// KeyID is the key it is about, "" where it is not known yet or there are
	// several.
	KeyID string
}

// begin tells the observer that an operation begins. The function it returns is
// to be called with its error, which is ErrPanicked until it is known.
func (s *Keystore) begin(ctx context.Context, name, id string) (context.Context, func(error)) {
	if s.opts.Observer == nil {
		return ctx, func(error) {}
	}
	if !validID(id) { // what a caller passed by mistake is not repeated
		id = ""
	}
	return s.opts.Observer.Begin(ctx, Operation{Name: name, KeyID: id})
}

// observed is a backend of which the observer sees every call.
func observed(b backend.Backend, o Observer) backend.Backend {
	if o == nil {
		return b
	}
	return &observedBackend{b, o}
}

type observedBackend struct {
	backend.Backend
	observer Observer
}

func observedCounter(b backend.Backend, o Observer) backend.Counter {
	c, ok := b.(backend.Counter)
	if !ok || o == nil {
		return c
	}
	return &observedCounts{c, observedBackend{b, o}}
}

func observedMeter(b backend.Backend, o Observer) backend.Meter {
	m, ok := b.(backend.Meter)
	if !ok || o == nil {
		return m
	}
	return &observedUsage{m, observedBackend{b, o}}
}

func (b *observedBackend) call(ctx context.Context, name, id string, do func(context.Context) error) error {
	err := ErrPanicked
	ctx, end := b.observer.Begin(ctx, Operation{Name: name, Store: true, KeyID: id})
	defer func() { end(err) }()
	err = do(ctx)
	return err
}

func (b *observedBackend) Create(ctx context.Context, r backend.Record) error {
	return b.call(ctx, "create", r.ID, func(ctx context.Context) error { return b.Backend.Create(ctx, r) })
}

func (b *observedBackend) Get(ctx context.Context, id string) (r backend.Record, err error) {
	err = b.call(ctx, "get", id, func(ctx context.Context) error {
		r, err = b.Backend.Get(ctx, id)
		return err
	})
	return r, err
}

func (b *observedBackend) Update(ctx context.Context, r backend.Record) error {
	return b.call(ctx, "update", r.ID, func(ctx context.Context) error { return b.Backend.Update(ctx, r) })
}

func (b *observedBackend) Delete(ctx context.Context, id string) error {
	return b.call(ctx, "delete", id, func(ctx context.Context) error { return b.Backend.Delete(ctx, id) })
}

func (b *observedBackend) List(ctx context.Context, o backend.ListOptions) (part []backend.Record, err error) {
	err = b.call(ctx, "list", "", func(ctx context.Context) error {
		part, err = b.Backend.List(ctx, o)
		return err
	})
	return part, err
}

func (b *observedBackend) Touch(ctx context.Context, used map[string]time.Time) error {
	return b.call(ctx, "touch", "", func(ctx context.Context) error { return b.Backend.Touch(ctx, used) })
}

func (b *observedBackend) Purge(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = b.call(ctx, "purge", "", func(ctx context.Context) error {
		n, err = b.Backend.Purge(ctx, now, limit)
		return err
	})
	return n, err
}
