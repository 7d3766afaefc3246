package limits

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// doer is a worker, or a process with one.
type doer interface {
	do(q request) (reply, error)
}

// fleet is workers that share a store, and another one in the process of the test,
// which makes and changes keys.
type fleet struct {
	store   store
	admin   *worker
	workers []doer
	ahead   []time.Duration // of the clocks of the workers; nil: they are right
}

// startFleet starts a fleet with those settings.
func startFleet(t *testing.T, s store, o settings) *fleet {
	t.Helper()
	f := &fleet{store: s, admin: &worker{open: s.open}}
	t.Cleanup(func() { require.NoError(t, f.admin.close()) })
	for i := range workers {
		if i >= s.near {
			f.workers = append(f.workers, startWorker(t, s.url))
			continue
		}
		w := &worker{open: s.open}
		t.Cleanup(func() { require.NoError(t, w.close()) })
		f.workers = append(f.workers, w)
	}
	f.open(t, o)
	return f
}

// open gives all of them a keystore with other settings.
func (f *fleet) open(t *testing.T, o settings) {
	t.Helper()
	_, err := f.admin.do(request{Do: "open", Now: noon.UnixMilli(), Settings: o}) // first, for it may make indexes
	require.NoError(t, err)
	f.each(t, request{Do: "open", Now: noon.UnixMilli(), Settings: o})
}

// each has all workers do something at the same time. Callers are shared out.
func (f *fleet) each(t *testing.T, q request) []reply {
	t.Helper()
	replies, failures := make([]reply, workers), make([]error, workers)
	var wait sync.WaitGroup
	for i, w := range f.workers {
		q := q
		q.Callers = (q.Callers + workers - 1 - i) / workers
		if q.Now != 0 && f.ahead != nil {
			q.Now += f.ahead[i].Milliseconds()
		}
		wait.Go(func() { replies[i], failures[i] = w.do(q) })
	}
	wait.Wait()
	for _, err := range failures {
		require.NoError(t, err)
	}
	return replies
}

// look has callers of all workers look up at the same time, at that time.
func (f *fleet) look(t *testing.T, now time.Time, q request) answers {
	t.Helper()
	q.Do, q.Now = "look", now.UnixMilli()
	return gather(f.each(t, q))
}

func gather(replies []reply) answers {
	var all answers
	for _, r := range replies {
		all = append(all, r.Answers...)
	}
	return all
}

// crowd is 64 callers who ask for more than 100 together.
func (f *fleet) crowd(tokens ...string) request {
	return request{Callers: 64, Each: sized(2, 4), Tokens: tokens}
}

// single is n lookups, one by each caller.
func single(n int, tokens ...string) request { return request{Callers: n, Each: 1, Tokens: tokens} }

// noon is when most tests begin: in the middle of a day, and at the edge of an hour.
var noon = time.Date(2031, time.May, 6, 12, 0, 0, 0, time.UTC)

// key makes a key.
func (f *fleet) key(t *testing.T, p keystore.KeyParams) (id, token string) {
	t.Helper()
	p.Owner = "owner-of-" + t.Name()
	made, key, err := f.admin.keys.Generate(context.Background(), p)
	require.NoError(t, err)
	return key.ID, made.Reveal()
}

// limited makes a key with limits.
func (f *fleet) limited(t *testing.T, limits ...keystore.Limit) (id, token string) {
	t.Helper()
	return f.key(t, keystore.KeyParams{Limits: limits})
}

// remaining is what the store has left of a key's limits, by name.
func (f *fleet) remaining(t *testing.T, id string, now time.Time) map[string]int64 {
	t.Helper()
	f.admin.clock.set(now.UnixMilli(), false)
	states, err := f.admin.keys.LimitsOf(context.Background(), id)
	require.NoError(t, err)
	left := make(map[string]int64)
	for _, s := range states {
		left[s.Name] = s.Remaining
	}
	return left
}

func limit(name string, requests int64, window time.Duration) keystore.Limit {
	return keystore.Limit{Name: name, Requests: requests, Window: window}
}

// TestFleet does everything that needs no fault, on every backend.
func TestFleet(t *testing.T) {
	t.Parallel()
	for _, s := range stores {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, s.start(t), settings{})
			for _, test := range []struct {
				name string
				run  func(t *testing.T, f *fleet)
			}{
				{"windows", windows},
				{"edge", edge},
				{"clocks a second apart", skew},
				{"rotation", rotation},
				{"two limits", twoLimits},
				{"costs", costs},
				{"largest numbers", largest},
				{"what consumes nothing", nothing},
				{"lowered and raised", lowered},
				{"plans", plans},
				{"usage", usage},
			} {
				if f.store.few && !long() && test.name != "windows" {
					continue
				}
				t.Run(test.name, func(t *testing.T) { test.run(t, f) })
			}
		})
	}
}
