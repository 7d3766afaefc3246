package limits

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// opener opens the store that all workers share.
type opener func(ctx context.Context) (backend.Backend, error)

// worker is a keystore that does what a test asks. It is for one goroutine at a time.
type worker struct {
	open  opener
	clock clock
	store *counted
	keys  *keystore.Keystore // nil: closed
	load  *load              // nil: none goes on
}

// clock is the worker's: it stands still, or is so far ahead of the machine's.
type clock struct {
	fixed atomic.Int64 // milliseconds since 1970; 0: it goes on
	ahead atomic.Int64 // in milliseconds
}

func (c *clock) now() time.Time {
	if at := c.fixed.Load(); at != 0 {
		return time.UnixMilli(at)
	}
	return time.Now().Add(time.Duration(c.ahead.Load()) * time.Millisecond)
}

func (c *clock) set(now int64, running bool) {
	switch {
	case now == 0:
	case running:
		c.ahead.Store(now - time.Now().UnixMilli())
		c.fixed.Store(0)
	default:
		c.fixed.Store(now)
	}
}

func (w *worker) do(q request) (reply, error) {
	w.clock.set(q.Now, q.Running)
	if q.Do == "open" {
		return reply{}, errors.Join(w.close(), w.reopen(q.Settings))
	}
	if w.keys == nil {
		return reply{}, errors.New("the worker has no keystore")
	}
	r := reply{}
	var err error
	switch q.Do {
	case "look":
		r.Answers = w.look(q)
	case "begin":
		w.load = w.begin(q)
	case "progress":
		r.Seen = w.load.progress()
	case "end":
		r.Answers = w.load.end()
		w.load = nil
	case "usage":
		r.Usage, err = w.usage(q.ID)
	case "calls":
	case "close":
		err = w.close()
	default:
		err = fmt.Errorf("a worker cannot %s", q.Do)
	}
	r.Spends, r.Flushes = w.store.spends.Load(), w.store.flushes.Load()
	return r, err
}

func (w *worker) reopen(o settings) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := w.open(ctx)
	if err != nil {
		return err
	}
	if w.store, err = newCounted(b); err != nil {
		return errors.Join(err, b.Close())
	}
	options := keystore.Options{
		OpTimeout: patience, Plans: o.Plans, Now: w.clock.now, CacheTTL: time.Hour,
		UsageInterval: 24 * time.Hour, TouchInterval: keystore.Never, PurgeInterval: keystore.Never,
	}
	if o.NoCache {
		options.CacheSize = -1
	}
	if o.Open {
		options.LimitFailure, options.StaleIfUnavailable = keystore.LimitsOpen, time.Hour
	}
	if o.OpTimeout != 0 {
		options.OpTimeout = o.OpTimeout
	}
	if o.UsageInterval != 0 {
		options.UsageInterval = o.UsageInterval
	}
	if w.keys, err = keystore.New(w.store, &options); err != nil {
		return err
	}
	// As it begins to hear of changes it forgets what it has read until then.
	for w.keys.Stats().Watch == keystore.WatchLost {
		if ctx.Err() != nil {
			return errors.New("the worker does not hear of changes")
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (w *worker) close() error {
	if w.keys == nil {
		return nil
	}
	if w.load != nil {
		w.load.end()
		w.load = nil
	}
	err := errors.Join(w.keys.Close(), w.store.Close())
	w.keys = nil
	return err
}

// usage are the hours of a key. To read them writes first what the worker has counted.
func (w *worker) usage(id string) ([]keystore.Usage, error) {
	var all []keystore.Usage
	for u, err := range w.keys.Usage(context.Background(), id, time.Time{}, time.Time{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// look has all callers look up at the same time.
func (w *worker) look(q request) answers {
	all := make([]answers, q.Callers)
	start := make(chan struct{})
	var callers sync.WaitGroup
	for c := range q.Callers {
		callers.Go(func() {
			<-start
			for i := range q.Each {
				all[c] = append(all[c], w.ask(context.Background(), q, c+i))
			}
		})
	}
	close(start)
	callers.Wait()
	return slices.Concat(all...)
}

// ask is lookup number n.
func (w *worker) ask(ctx context.Context, q request, n int) answer {
	p := keystore.LookupParams{}
	if q.Scope != "" {
		p.Scopes = []string{q.Scope}
	}
	if len(q.Costs) > 0 {
		p.Cost = q.Costs[n%len(q.Costs)]
	}
	look := w.keys.LookupWith
	if q.Peek {
		look = w.keys.Peek
	}
	began := time.Now()
	r, err := look(ctx, q.Tokens[n%len(q.Tokens)], p)
	a := newAnswer(r, err, max(p.Cost, 1))
	a.Took = time.Since(began)
	return a
}

func newAnswer(r keystore.Result, err error, cost int64) answer {
	a := answer{Cost: cost, Unchecked: r.LimitsUnchecked, Limits: statesOf(r.Limits)}
	if err == nil {
		return a
	}
	var refused *keystore.LookupError
	if !errors.As(err, &refused) {
		a.Wrong = fmt.Sprintf("%T: %v", err, err)
		return a
	}
	a.Reason = refused.Reason
	limited, ok := errors.AsType[*keystore.RateLimitError](err)
	switch {
	case ok:
		a.Limits, a.RetryAfter, a.Exceeded = statesOf(limited.Limits), limited.RetryAfter, limited.Exceeded()
	case errors.Is(err, keystore.ErrUnavailable):
		a.Detail = err.Error()
	}
	if errors.Is(err, keystore.ErrRateLimited) != ok || ok != (a.Reason == keystore.ReasonRateLimited) {
		a.Wrong = fmt.Sprintf("reason %q of %v", a.Reason, err)
	}
	return a
}

// load is lookups that go on until they are told to end.
type load struct {
	stop    context.CancelFunc
	callers sync.WaitGroup
	all     []answers

	mu   sync.Mutex
	seen seen // so far
}

// pace is how long a caller of a load rests between two lookups.
const pace = 2 * time.Millisecond

func (w *worker) begin(q request) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop, all: make([]answers, q.Callers)}
	for c := range q.Callers {
		l.callers.Go(func() {
			for n := c; ctx.Err() == nil; n++ {
				a := w.ask(context.Background(), q, n) // none is cancelled: each has its outcome
				l.all[c] = append(l.all[c], a)
				l.note(a)
				rest := time.NewTimer(pace)
				select {
				case <-rest.C:
				case <-ctx.Done():
					rest.Stop()
				}
			}
		})
	}
	return l
}

func (l *load) note(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.Unchecked:
		l.seen.Unchecked++
	case a.passed():
		l.seen.Passed++
	case a.Reason == keystore.ReasonUnavailable:
		l.seen.Unavailable++
	}
}

func (l *load) progress() seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

func (l *load) end() answers {
	l.stop()
	l.callers.Wait()
	return slices.Concat(l.all...)
}

// counted is a backend that counts calls.
type counted struct {
	backend.Backend
	backend.Watcher
	backend.Counter
	backend.Meter
	spends, flushes atomic.Int64
}

func newCounted(b backend.Backend) (*counted, error) {
	watcher, watches := b.(backend.Watcher)
	counter, counts := b.(backend.Counter)
	meter, meters := b.(backend.Meter)
	if !watches || !counts || !meters {
		return nil, fmt.Errorf("%T: Watcher %t, Counter %t, Meter %t", b, watches, counts, meters)
	}
	return &counted{Backend: b, Watcher: watcher, Counter: counter, Meter: meter}, nil
}

func (c *counted) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	c.spends.Add(1)
	return c.Counter.Spend(ctx, s)
}

func (c *counted) AddUsage(ctx context.Context, additions []backend.Addition) error {
	c.flushes.Add(1)
	return c.Meter.AddUsage(ctx, additions)
}
