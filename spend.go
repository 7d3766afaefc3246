package keystore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"example.com/keystore/backend"
)

// ask is what a lookup is asked besides the token.
type ask struct {
	scopes []string
	cost   int64 // 0: 1
	peek   bool  // nothing is spent, noted or counted
}

func (a *ask) price() int64 { return max(a.cost, 1) }

// checkCost refuses a cost that no key can have.
func checkCost(cost int64) error {
	if cost < 0 || cost > MaxCost {
		return invalid("cost", "it is not one from 1 to %d", int64(MaxCost))
	}
	return nil
}

// spend takes the cost of a lookup from every limit of the key, or from none, and
// writes what is left to out.
func (s *Keystore) spend(ctx context.Context, k *Key, a *ask, now time.Time, out *Result) *LookupError {
	refuse := func(reason Reason, err error) *LookupError {
		return &LookupError{Reason: reason, KeyID: k.ID, Owner: k.Owner, err: err}
	}
	limits, reason, err := s.enforceable(k)
	switch {
	case err != nil:
		return refuse(reason, s.unavailable(ctx, "key "+k.ID, err))
	case len(limits) == 0:
		return nil
	}
	cost := a.price()
	for _, l := range limits {
		if cost > l.Requests {
			return refuse(ReasonInvalidCost, invalid("cost", "%d is more than limit %q ever allows", cost, l.Name))
		}
	}
	windows := windowsAt(limits, now)
	if a.peek || !s.breaker.open() {
		spent, err := s.charge(ctx, k.ID, cost, windows, a.peek)
		switch {
		case err == nil && spent.OK:
			out.Limits = statesOf(limits, windows, spent.Counts)
			return nil
		case err == nil:
			return refuse(ReasonRateLimited, newRateLimitError(limits, windows, spent.Counts, cost, now))
		case s.opts.LimitFailure == LimitsClosed, s.closed.Load(), ctx.Err() != nil:
			err = s.unavailable(ctx, "limits of key "+k.ID, err)
			if errors.Is(err, ErrClosed) {
				return refuse(ReasonClosed, err)
			}
			return refuse(ReasonUnavailable, err)
		}
	}
	if !a.peek {
		s.unchecked.Add(1)
	}
	out.LimitsUnchecked = true
	return nil
}

// windowsAt returns the windows of the limits at a time.
func windowsAt(limits []Limit, now time.Time) []backend.Window {
	windows := make([]backend.Window, len(limits))
	for i, l := range limits {
		length := int64(l.Window / time.Second)
		second := max(now.Unix(), 0) // a clock may read a year before
		windows[i] = backend.Window{Name: l.Name, Length: l.Window, Start: time.Unix(second-second%length, 0).UTC(), Max: l.Requests}
	}
	return windows
}

func statesOf(limits []Limit, windows []backend.Window, counts []int64) []LimitState {
	states := make([]LimitState, len(limits))
	for i, l := range limits {
		states[i] = LimitState{l, max(l.Requests-counts[i], 0), windows[i].End()}
	}
	return states
}

func newRateLimitError(limits []Limit, windows []backend.Window, counts []int64, cost int64, now time.Time) *RateLimitError {
	e := &RateLimitError{Limits: statesOf(limits, windows, counts), Cost: cost}
	for _, state := range e.Limits {
		if state.Remaining < cost {
			e.RetryAfter = max(e.RetryAfter, state.Reset.Sub(now))
		}
	}
	return e
}

// errCounts is a backend's answer that its contract does not have.
var errCounts = errors.New("the backend returned other counts than it was asked for")

// charge spends, or looks whether it could. A spend that may have happened is
// repeated: by contract it counts once.
func (s *Keystore) charge(ctx context.Context, id string, cost int64, windows []backend.Window, peek bool) (backend.Spent, error) {
	op := s.bound(ctx)
	defer op.end()
	if peek {
		counts, err := s.counts(op, id, windows)
		if err != nil {
			return backend.Spent{}, err
		}
		return backend.Spent{OK: fits(windows, counts, cost), Counts: counts}, nil
	}
	began := time.Now()
	spend := backend.Spend{ID: id, SpendID: rand.Uint64(), Cost: cost, Windows: windows}
	for try := 1; ; try++ {
		spent, err := s.counter.Spend(op, spend)
		if err == nil && len(spent.Counts) != len(windows) {
			err = errCounts
		}
		if try == sendTries || err == nil || errors.Is(err, backend.ErrNotApplied) || errors.Is(err, backend.ErrClosed) || backoff(op, try) != nil {
			if ctx.Err() == nil || time.Since(began) >= breakPatience {
				s.breaker.note(err)
			}
			return spent, err
		}
	}
}

func (s *Keystore) counts(op context.Context, id string, windows []backend.Window) ([]int64, error) {
	counts, err := s.counter.Counts(op, id, windows)
	if err == nil && len(counts) != len(windows) {
		err = errCounts
	}
	return counts, err
}

// fits reports whether a cost can be spent in all windows.
func fits(windows []backend.Window, counts []int64, cost int64) bool {
	for i, w := range windows {
		if counts[i] > w.Max-cost {
			return false
		}
	}
	return true
}

// LimitsOf returns the limits that hold for a key, those of its plan included, and
// what is left of each; nil if it has none. Errors: ErrNotFound, ErrCorrupt,
// ErrUnavailable, also for a plan that is not among Options.Plans, ErrClosed.
func (s *Keystore) LimitsOf(ctx context.Context, id string) ([]LimitState, error) {
	return s.limitsOf(ctx, id, "")
}

func (s *Keystore) limitsOf(ctx context.Context, id, owner string) (states []LimitState, err error) {
	ctx, end := s.begin(ctx, "limits_of", id)
	err = ErrPanicked
	defer func() { end(err) }()
	r, err := s.read(ctx, id, owner)
	if err != nil {
		return nil, err
	}
	limits, _, err := s.enforceable(&r.key)
	if err != nil {
		return nil, s.unavailable(ctx, "key "+id, err)
	}
	if len(limits) == 0 {
		return nil, nil
	}
	op := s.bound(ctx)
	defer op.end()
	windows := windowsAt(limits, s.now())
	counts, err := s.counts(op, id, windows)
	if err != nil {
		return nil, s.unavailable(ctx, "limits of key "+id, err)
	}
	return statesOf(limits, windows, counts), nil
}

// ResetLimits forgets what was spent of the limits of a key: each window begins
// anew. Errors: ErrNotFound, ErrCorrupt, ErrUnavailable, ErrUnknownOutcome,
// ErrClosed; ErrInvalid on a backend that cannot count.
func (s *Keystore) ResetLimits(ctx context.Context, id string) error {
	e := &Event{Action: ActionResetLimits, KeyID: id}
	_, err := s.manage(ctx, "reset_limits", e, func(ctx context.Context) (Key, error) {
		r, err := s.read(ctx, id, "")
		if err != nil {
			return Key{}, err
		}
		if s.counter == nil {
			return Key{}, invalid("limits", "the backend cannot count: it is no backend.Counter")
		}
		return r.view(s.now()), s.resetCounts(ctx, id)
	})
	return err
}

func (s *Keystore) resetCounts(ctx context.Context, id string) error {
	return s.send(ctx, "limits of key "+id, func(op context.Context) error { return s.counter.ResetCounts(op, id) })
}

// CanLimit reports whether keys can have limits: whether the backend is a
// backend.Counter.
func (s *Keystore) CanLimit() bool { return s.counter != nil }
