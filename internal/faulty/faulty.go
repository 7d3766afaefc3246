// Package faulty wraps a backend so that its calls fail as a test scripts it. It
// starts no goroutine and never sleeps.
package faulty

import (
	"bytes"
	"context"
	"maps"
	"sync"
	"time"

	"example.com/keystore/backend"
)

// Method names a method of the backend.
type Method string

// The methods of backend.Backend, Watcher, Counter and Meter.
const (
	Create Method = "Create"
	Get    Method = "Get"
	Update Method = "Update"
	Delete Method = "Delete"
	List   Method = "List"
	Touch  Method = "Touch"
	Purge  Method = "Purge"
	Close  Method = "Close"
	Watch  Method = "Watch"

	Spend       Method = "Spend"
	Counts      Method = "Counts"
	ResetCounts Method = "ResetCounts"
	PurgeCounts Method = "PurgeCounts"

	AddUsage   Method = "AddUsage"
	Usage      Method = "Usage"
	PurgeUsage Method = "PurgeUsage"
)

// Call is one call that a Plan judges.
type Call struct {
	Method Method
	N      int    // 1 for the first call of the method
	ID     string // of the key, or the subject of Usage, where the method is about one
}

// Plan chooses the fault of a call, nil for none. It is asked on the caller's
// goroutine, so it may use the wrapped backend or wait for a channel first.
type Plan func(Call) Fault

// Fault is what happens to one call: it runs do, which makes the call, as often
// and whenever it likes, and returns what the caller is told. The results that
// go with a nil error are those of the last do.
type Fault func(ctx context.Context, do Do) error

// Do makes the call, with memory of its own: it may run after the caller's
// method has returned, too.
type Do func(ctx context.Context) error

// Backend is a wrapped backend, which counts its calls. It is also a
// backend.Watcher, a backend.Counter and a backend.Meter if the inner backend is.
type Backend interface {
	backend.Backend
	Calls(Method) int // so far, those that failed included
}

// New wraps a backend. A nil plan lets every call through.
func New(inner backend.Backend, plan Plan) Backend {
	return extend(&wrapper{inner: inner, plan: plan, calls: make(map[Method]int)})
}

type wrapper struct {
	inner backend.Backend
	plan  Plan

	mu    sync.Mutex
	calls map[Method]int
}

func (w *wrapper) Calls(m Method) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[m]
}

func (w *wrapper) fault(m Method, id string) Fault {
	w.mu.Lock()
	w.calls[m]++
	call := Call{Method: m, N: w.calls[m], ID: id}
	w.mu.Unlock()
	if w.plan == nil {
		return nil
	}
	return w.plan(call)
}

// run makes a call under its fault. A do that comes after the return changes
// nothing that the caller can see.
func run[T any](ctx context.Context, fault Fault, call func(context.Context) (T, error)) (T, error) {
	if fault == nil {
		return call(ctx)
	}
	var mu sync.Mutex
	var last T
	err := fault(ctx, func(ctx context.Context) error {
		result, err := call(ctx)
		mu.Lock()
		defer mu.Unlock()
		last = result
		return err
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		var none T
		return none, err
	}
	return last, nil
}

// runErr is run for a method that returns nothing else.
func runErr(ctx context.Context, fault Fault, call func(context.Context) error) error {
	_, err := run(ctx, fault, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}

func (w *wrapper) Create(ctx context.Context, r backend.Record) error {
	r.Data = bytes.Clone(r.Data)
	return runErr(ctx, w.fault(Create, r.ID), func(ctx context.Context) error { return w.inner.Create(ctx, r) })
}

func (w *wrapper) Get(ctx context.Context, id string) (backend.Record, error) {
	return run(ctx, w.fault(Get, id), func(ctx context.Context) (backend.Record, error) { return w.inner.Get(ctx, id) })
}

func (w *wrapper) Update(ctx context.Context, r backend.Record) error {
	r.Data = bytes.Clone(r.Data)
	return runErr(ctx, w.fault(Update, r.ID), func(ctx context.Context) error { return w.inner.Update(ctx, r) })
}

func (w *wrapper) Delete(ctx context.Context, id string) error {
	return runErr(ctx, w.fault(Delete, id), func(ctx context.Context) error { return w.inner.Delete(ctx, id) })
}

func (w *wrapper) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	return run(ctx, w.fault(List, ""), func(ctx context.Context) ([]backend.Record, error) { return w.inner.List(ctx, o) })
}

func (w *wrapper) Touch(ctx context.Context, used map[string]time.Time) error {
	used = maps.Clone(used)
	return runErr(ctx, w.fault(Touch, ""), func(ctx context.Context) error { return w.inner.Touch(ctx, used) })
}

func (w *wrapper) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	return run(ctx, w.fault(Purge, ""), func(ctx context.Context) (int, error) { return w.inner.Purge(ctx, now, limit) })
}

func (w *wrapper) Close() error {
	return runErr(context.Background(), w.fault(Close, ""), func(context.Context) error { return w.inner.Close() })
}
