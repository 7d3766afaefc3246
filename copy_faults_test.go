package keystore_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

// withDebts makes a move of 23 keys that has something of everything to do: keys
// to create, to update, to revoke, to keep, and last uses to raise.
func withDebts(t *testing.T) *move {
	m := newMove(t)
	var ids []string
	used := map[string]time.Time{}
	for range 17 {
		_, key := generate(t, m.source)
		ids = append(ids, key.ID)
	}
	m.copy()
	for range 6 {
		_, key := generate(t, m.source)
		ids = append(ids, key.ID)
	}
	for i, id := range ids {
		switch i % 6 {
		case 0:
			m.rename(m.source, id, "s")
		case 1:
			m.revoke(m.source, id, "s")
		case 2:
			used[id] = time.UnixMilli(int64(i)).UTC()
		case 3:
			if i < 17 {
				targetChanges(m, id)
			}
		case 4:
			if i < 17 {
				targetChanges(m, id)
			}
			sourceRevokes(m, id)
		}
	}
	require.NoError(t, m.from.Touch(t.Context(), used))
	return m
}

// requireSettled demands that a copy has nothing left to do.
func (m *move) requireSettled() {
	m.t.Helper()
	done, err := keystore.Compare(m.t.Context(), m.from, m.to, nil)
	require.NoError(m.t, err)
	require.Zero(m.t, done.Missing+done.Older+done.Diverged+done.Damaged+done.Extra+done.UsedLater, "%+v", done)
}

// outage is a process that dies, or a store that goes away, at the nth call of a
// method in one of the two stores.
type outage struct {
	inTarget bool
	method   faulty.Method
	n        int
	last     faulty.Fault // of that call; later ones are refused
}

func (o outage) plan(c faulty.Call) faulty.Fault {
	switch {
	case c.Method != o.method || c.N < o.n:
		return nil
	case c.N == o.n:
		return o.last
	}
	return faulty.Refuse(errInjected)
}

// strike copies until the outage, and reports whether it came to that.
func (o outage) strike(t *testing.T, m *move) (keystore.CopyResult, bool) {
	from, to, side := faulty.New(m.from, nil), faulty.New(m.to, o.plan), "target: "
	struck := to
	if !o.inTarget {
		from, to, side = faulty.New(m.from, o.plan), faulty.New(m.to, nil), "source: "
		struck = from
	}
	options := keystore.InPages(5)
	options.Writers = 1
	result, err := keystore.Copy(t.Context(), from, to, options)
	if struck.Calls(o.method) < o.n {
		require.NoError(t, err)
		return result, false
	}
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorContains(t, err, side)
	return result, true
}

// TestACopyThatIsInterruptedGoesOn ends a copy at each of its calls, before and
// after that took effect, and finishes it: from the start, and from where it was.
func TestACopyThatIsInterruptedGoesOn(t *testing.T) {
	struck := map[faulty.Method]int{}
	for _, o := range []outage{
		{false, faulty.List, 0, nil},
		{true, faulty.List, 0, nil},
		{true, faulty.Create, 0, nil},
		{true, faulty.Update, 0, nil},
		{true, faulty.Get, 0, nil},
		{true, faulty.Touch, 0, nil},
	} {
		for _, o.last = range []faulty.Fault{faulty.Refuse(errInjected), faulty.LoseReply(errInjected)} {
			for _, resume := range []bool{false, true} {
				for o.n = 1; ; o.n++ {
					m := withDebts(t)
					result, reached := o.strike(t, m)
					if !reached {
						break
					}
					struck[o.method]++
					if resume {
						options := keystore.InPages(5)
						options.After = result.Last
						_, err := keystore.Copy(t.Context(), m.from, m.to, options)
						require.NoError(t, err)
						m.requireSettled()
					} else {
						m.copy()
						m.requireSettled()
					}
				}
			}
		}
	}
	t.Log("interruptions:", struck)
	for _, method := range []faulty.Method{faulty.List, faulty.Create, faulty.Update, faulty.Get, faulty.Touch} {
		require.GreaterOrEqual(t, struck[method], 8, method)
	}
}

// TestACopyUnderFaultsWritesOnce has a third of the writes of a kind fail in each
// way, and delivers at the end what was delayed.
func TestACopyUnderFaultsWritesOnce(t *testing.T) {
	for _, k := range kinds {
		if k.once == failed {
			continue // nothing is repeated that was refused for good
		}
		for _, method := range []faulty.Method{faulty.Create, faulty.Update, faulty.Touch} {
			t.Run(fmt.Sprintf("%s %s", method, k.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := withDebts(t)
					faults := &bench{}
					fault := k.fault(faults)
					to := faulty.New(m.to, func(c faulty.Call) faulty.Fault {
						if c.Method == method && c.N%3 == 1 { // never the same write twice
							return fault
						}
						return nil
					})
					o := keystore.InPages(5)
					o.Writers = 1
					result, err := keystore.Copy(t.Context(), m.from, to, o)
					require.NoError(t, err)
					require.Equal(t, int64(23), result.Read)
					m.requireSettled()
					before := everyRecord(t, m.to)
					faults.late.Deliver()
					require.Equal(t, before, everyRecord(t, m.to), "what arrives late does nothing more")
				})
			})
		}
	}
}

// The other writers do not go on to try every key.
func TestACopyIntoAStoreThatIsDownStops(t *testing.T) {
	m := newMove(t)
	for range 200 {
		generate(t, m.source)
	}
	to := faulty.New(m.to, faulty.Only(faulty.Refuse(errInjected), faulty.Create))
	result, err := keystore.Copy(t.Context(), m.from, to, &keystore.CopyOptions{Writers: 4})
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.Equal(t, keystore.CopyResult{}, result)
	require.LessOrEqual(t, to.Calls(faulty.Create), 4*3, "three attempts of each writer")
}

func TestACopyThatIsCancelledStops(t *testing.T) {
	m := withDebts(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	to := faulty.New(m.to, nil)
	_, err := keystore.Copy(ended, m.from, to, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.Zero(t, writesTo(to))

	for _, method := range []faulty.Method{faulty.List, faulty.Create, faulty.Update, faulty.Touch} {
		m := withDebts(t)
		ctx, cancel := context.WithCancel(t.Context())
		var late atomic.Int32
		to := faulty.New(m.to, func(c faulty.Call) faulty.Fault {
			if ctx.Err() != nil {
				late.Add(1)
			}
			if c.Method == method {
				return func(ctx context.Context, _ faulty.Do) error { cancel(); return faulty.Block(ctx, nil) }
			}
			return nil
		})
		o := keystore.InPages(5)
		o.Writers = 2
		o.OpTimeout = keystore.Never
		_, err := keystore.Copy(ctx, m.from, to, o)
		require.ErrorIs(t, err, context.Canceled, method)
		require.LessOrEqual(t, late.Load(), int32(2), "the other writer may be at one more key")
		m.copy()
		m.requireSettled()
	}
}

// TestACopyWritesSeveralAtATime counts how many calls are under way.
func TestACopyWritesSeveralAtATime(t *testing.T) {
	for _, writers := range []int{1, 5} {
		synctest.Test(t, func(t *testing.T) {
			m := newMove(t)
			for range 50 {
				generate(t, m.source)
			}
			var now, most atomic.Int32
			slow := faulty.Around(func() {
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(time.Second)
			}, func() { now.Add(-1) })
			_, err := keystore.Copy(t.Context(), m.from, faulty.New(m.to, faulty.Only(slow, faulty.Create)), &keystore.CopyOptions{Writers: writers})
			require.NoError(t, err)
			require.Equal(t, int32(writers), most.Load())
		})
	}
}
