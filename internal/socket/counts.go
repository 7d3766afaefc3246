package socket

import (
	"context"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// What the methods of backend.Counter send.
type (
	window struct {
		_      struct{} `cbor:",toarray"`
		Name   string
		Length time.Duration
		Start  envelope.Time
		Max    int64
	}
	spend struct {
		_       struct{} `cbor:",toarray"`
		ID      string
		SpendID uint64
		Cost    int64
		Windows []window
	}
	spent struct {
		_      struct{} `cbor:",toarray"`
		OK     bool
		Counts []int64
	}
	counts struct {
		_       struct{} `cbor:",toarray"`
		ID      string
		Windows []window
	}
)

func windowsOf(from []backend.Window) ([]window, error) {
	windows := make([]window, len(from))
	for i, w := range from {
		start, err := envelope.TimeOf(w.Start)
		if err != nil {
			return nil, err
		}
		windows[i] = window{Name: w.Name, Length: w.Length, Start: start, Max: w.Max}
	}
	return windows, nil
}

func backendWindows(from []window) []backend.Window {
	windows := make([]backend.Window, len(from))
	for i, w := range from {
		windows[i] = backend.Window{Name: w.Name, Length: w.Length, Start: w.Start.Time(), Max: w.Max}
	}
	return windows
}

// spending is the methods of [backend.Counter] of a client.
type spending struct{ c *client }

// Spend implements [backend.Counter].
func (s spending) Spend(ctx context.Context, from backend.Spend) (backend.Spent, error) {
	windows, err := windowsOf(from.Windows)
	if err != nil {
		return backend.Spent{}, notApplied{err}
	}
	got, err := call[spent](ctx, s.c, "/v1/spend", spend{ID: from.ID, SpendID: from.SpendID, Cost: from.Cost, Windows: windows})
	if err != nil {
		return backend.Spent{}, err
	}
	return backend.Spent{OK: got.OK, Counts: got.Counts}, nil
}

// Counts implements [backend.Counter].
func (s spending) Counts(ctx context.Context, id string, from []backend.Window) ([]int64, error) {
	windows, err := windowsOf(from)
	if err != nil {
		return nil, notApplied{err}
	}
	return call[[]int64](ctx, s.c, "/v1/counts", counts{ID: id, Windows: windows})
}

// ResetCounts implements [backend.Counter].
func (s spending) ResetCounts(ctx context.Context, id string) error {
	_, err := call[none](ctx, s.c, "/v1/reset_counts", id)
	return err
}

// PurgeCounts implements [backend.Counter].
func (s spending) PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error) {
	return s.c.purge(ctx, "/v1/purge_counts", now, limit)
}

// counter answers the calls of backend.Counter.
type counter struct{ backend.Counter }

func (c counter) spend(ctx context.Context, s spend) (spent, error) {
	if !within(1, s.Cost, backend.MaxCount) || len(s.Windows) == 0 || !wellFormed(s.Windows) {
		return spent{}, errArguments
	}
	for i, w := range s.Windows {
		twice := slices.ContainsFunc(s.Windows[:i], func(o window) bool { return o.Name == w.Name && o.Length == w.Length })
		if twice || !within(1, w.Max, backend.MaxCount) {
			return spent{}, errArguments
		}
	}
	got, err := c.Spend(ctx, backend.Spend{ID: s.ID, SpendID: s.SpendID, Cost: s.Cost, Windows: backendWindows(s.Windows)})
	return spent{OK: got.OK, Counts: got.Counts}, err
}

func (c counter) counts(ctx context.Context, q counts) ([]int64, error) {
	if !wellFormed(q.Windows) {
		return nil, errArguments
	}
	return c.Counts(ctx, q.ID, backendWindows(q.Windows))
}

func (c counter) reset(ctx context.Context, id string) (none, error) {
	return false, c.ResetCounts(ctx, id)
}

func (c counter) purge(ctx context.Context, p purge) (int, error) {
	if p.Limit < 1 {
		return 0, errArguments
	}
	return c.PurgeCounts(ctx, p.Now.Time(), p.Limit)
}

// wellFormed reports whether there are no more windows than one call may have, and
// each is as [backend.Window] says.
func wellFormed(windows []window) bool {
	for _, w := range windows {
		start := w.Start.Time()
		if !named(w.Name, backend.MaxWindowName, "_-") || w.Length < time.Second || w.Length%time.Second != 0 || start.Unix() < 0 || start.Nanosecond() != 0 {
			return false
		}
	}
	return len(windows) <= backend.MaxWindows
}

// named reports whether a name has 1 to most bytes of [a-z0-9] and others.
func named(name string, most int, others string) bool {
	return name != "" && len(name) <= most && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789"+others) == ""
}

func within(low, n, high int64) bool { return low <= n && n <= high }
