package keystore

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNoAuditorNoTrail(t *testing.T) {
	trail := newAuditTrail(nil, time.Second, nil, time.Now)
	require.Nil(t, trail)
	trail.record(context.Background(), numbered(0))
	trail.refused(context.Background(), errMalformed)
	require.Zero(t, trail.lost())
	require.Zero(t, trail.close())
}

func TestEventsComeInOrderWithWhatTheyLeftOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{}
		trail, _ := trailTo(t, a)
		ctx := WithRequestID(WithActor(t.Context(), "bob"), "r-1")
		for n := range 3000 {
			trail.record(ctx, numbered(n))
		}
		trail.record(context.Background(), Event{Time: testNoon.In(time.FixedZone("", 3600)), Actor: "own", RequestID: "r-2", Count: 7, KeyID: "0QWvfqEE7rFhHD1a"})
		require.Zero(t, trail.close())
		events := a.events()
		require.Equal(t, upTo(3000), a.revisions()[:3000])
		want := numbered(0)
		want.Time, want.Actor, want.RequestID, want.Count = time.Now().UTC().Round(0), "bob", "r-1", 1
		require.Equal(t, want, events[0])
		require.Equal(t, Event{Time: testNoon, Actor: "own", RequestID: "r-2", Count: 7, KeyID: "0QWvfqEE7rFhHD1a"}, events[3000])
		for _, size := range a.sizes {
			require.LessOrEqual(t, size, auditBatch)
		}
	})
}

// The Auditor takes a second for each batch: changes wait for room, and nothing is
// lost.
func TestSlowAuditorLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{hook: func(context.Context, int, []Event) error { time.Sleep(time.Second); return nil }}
		trail, log := trailTo(t, a)
		for n := range 5000 {
			trail.record(t.Context(), numbered(n))
		}
		require.Greater(t, len(a.called()), 10)
		time.Sleep(20 * time.Second)
		require.Equal(t, upTo(5000), a.revisions())
		require.Zero(t, trail.close())
		require.Empty(t, log.String())
	})
}

func TestFailedBatchComesAgainOnce(t *testing.T) {
	for name, fail := range map[string]func(){"error": nil, "panic": func() { panic("no") }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const failures = 12
				a := &spyAuditor{hook: func(_ context.Context, n int, events []Event) error {
					if n <= failures && fail != nil {
						fail()
					}
					return failTimes(failures)(nil, n, nil)
				}}
				trail, log := trailTo(t, a)
				for n := range 10 {
					trail.record(t.Context(), numbered(n))
				}
				time.Sleep(time.Minute)
				require.Equal(t, upTo(10), a.revisions(), "once each")
				pause := auditPauseMin
				for n := 1; n <= failures; n++ {
					require.Equal(t, pause, a.called()[n].Sub(a.called()[n-1]), "pause %d", n)
					pause = min(2*pause, auditPauseMax)
				}
				require.Zero(t, trail.close())
				require.InDelta(t, 4, strings.Count(log.String(), "the Auditor failed"), 1, "one line in ten seconds: %s", log)
			})
		})
	}
}

// An Auditor that waits for ever gets a context that ends, again and again, and in
// the end takes what waited.
func TestAuditorHasATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{hook: func(ctx context.Context, n int, _ []Event) error {
			if n <= 3 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		trail, _ := trailTo(t, a)
		trail.record(t.Context(), numbered(0))
		time.Sleep(time.Minute)
		require.Equal(t, []int{0}, a.revisions())
		require.Equal(t, 2*time.Second+auditPauseMin, a.called()[1].Sub(a.called()[0]))
	})
}

// blocked is an Auditor that takes nothing, and does not care for its context,
// until the test lets it.
func blocked() (a *spyAuditor, release func()) {
	free := make(chan struct{})
	a = &spyAuditor{hook: func(context.Context, int, []Event) error { <-free; return nil }}
	return a, sync.OnceFunc(func() { close(free) })
}

// fill puts as many events into the trail as it holds while its Auditor is blocked.
func fill(t *testing.T, trail *auditTrail) (events int) {
	t.Helper()
	trail.record(t.Context(), numbered(0))
	synctest.Wait() // the Auditor has it
	for n := range auditQueue {
		trail.record(t.Context(), numbered(1+n))
	}
	require.Len(t, trail.queue, auditQueue)
	require.Zero(t, trail.lost())
	return 1 + auditQueue
}

func TestFullQueueWaitsAndThenDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, release := blocked()
		defer release()
		trail, log := trailTo(t, a)
		held := fill(t, trail)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		short, cancelShort := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancelShort()
		began := time.Now()
		trail.record(ended, numbered(9999))
		require.Zero(t, time.Since(began))
		trail.record(short, numbered(9999))
		require.Equal(t, time.Millisecond, time.Since(began), "no longer than its context")
		began = time.Now()
		trail.record(t.Context(), numbered(9999))
		require.Equal(t, 2*time.Second, time.Since(began), "it waits for room, and no longer")
		for range 5 {
			trail.record(t.Context(), numbered(9999))
		}
		require.Equal(t, 2*time.Second, time.Since(began), "it waits no more for one that is stuck")
		require.Equal(t, uint64(8), trail.lost())
		time.Sleep(auditLogEvery)
		trail.record(t.Context(), numbered(9999))
		require.Contains(t, log.String(), "lost=1\n")
		require.Equal(t, 2, strings.Count(log.String(), "\n"), "one line in ten seconds: %s", log)
		trail.record(t.Context(), numbered(9999)) // which no line tells of yet
		release()
		time.Sleep(refusedEvery)
		require.Contains(t, log.String(), "lost=10\n", "in the end the log says it all")
		lines := strings.Count(log.String(), "\n")
		time.Sleep(time.Minute)
		require.Equal(t, lines, strings.Count(log.String(), "\n"), "once")
		require.Equal(t, upTo(held), a.revisions())
	})
}

// Who waits gets the room there is, also after the Auditor was stuck.
func TestWaitingForRoomBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		a := &spyAuditor{hook: func(context.Context, int, []Event) error { <-free; return nil }}
		trail, _ := trailTo(t, a)
		held := fill(t, trail)
		trail.record(t.Context(), numbered(9999)) // in vain
		require.Equal(t, uint64(1), trail.lost())
		free <- struct{}{} // the first event, and 256 more are with the Auditor
		synctest.Wait()
		for range auditBatch {
			trail.record(t.Context(), numbered(held))
			held++
		}
		var late sync.WaitGroup
		late.Go(func() { trail.record(t.Context(), numbered(held)) })
		synctest.Wait()
		close(free)
		late.Wait()
		require.Equal(t, 1, trail.close())
		require.Equal(t, upTo(held+1), a.revisions())
	})
}

// An Auditor that cannot take one event must not stop all others for ever: the
// batch with it is given up when there is no room any more.
func TestBatchThatIsNeverTakenIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{hook: func(_ context.Context, _ int, events []Event) error {
			for _, e := range events {
				if e.Revision == 0 {
					panic("cannot take this")
				}
			}
			return nil
		}}
		trail, _ := trailTo(t, a)
		trail.record(t.Context(), numbered(0))
		time.Sleep(time.Hour)
		require.Zero(t, trail.lost(), "while there is room it is tried again")
		fill := auditQueue + 10
		for n := range fill {
			trail.record(t.Context(), numbered(1+n))
		}
		time.Sleep(auditPauseMax + time.Second)
		require.LessOrEqual(t, trail.lost(), uint64(12))
		require.GreaterOrEqual(t, trail.lost(), uint64(1))
		requireConserved(t, trail, a, 1+fill)
		require.NotContains(t, a.revisions(), 0)
		require.Equal(t, int(trail.lost()), trail.close(), "and is counted once")
	})
}

// A short trouble of the Auditor while the queue is full gives no batch up.
func TestFullQueueGivesNoBatchUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		a := &spyAuditor{hook: func(_ context.Context, n int, _ []Event) error {
			if n == 1 {
				<-free
			}
			return failTimes(5)(nil, n, nil)
		}}
		trail, _ := trailTo(t, a)
		held := fill(t, trail)
		close(free)
		time.Sleep(time.Minute)
		require.Zero(t, trail.lost())
		require.Equal(t, upTo(held), a.revisions())
	})
}

func TestNeverHasABoundAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{hook: func(ctx context.Context, _ int, _ []Event) error {
			deadline, ok := ctx.Deadline()
			if !ok || time.Until(deadline) != closeBound {
				return errors.New("no deadline")
			}
			return nil
		}}
		log := new(logBuffer)
		trail := newAuditTrail(a, Never, nil, time.Now)
		trail.record(t.Context(), numbered(0))
		require.Zero(t, trail.close())
		require.Equal(t, []int{0}, a.revisions(), log)
	})
}

// 64 goroutines, an Auditor that fails and panics at random, and a close in
// between: each event arrives once, in its goroutine's order, or is counted.
func TestTrailByManyGoroutines(t *testing.T) {
	seed := seedOf(t)
	for round := range 8 {
		synctest.Test(t, func(t *testing.T) { trailByMany(t, rand.New(rand.NewPCG(seed, uint64(round))), round%2 == 1) })
	}
}

func trailByMany(t *testing.T, random *rand.Rand, closes bool) {
	a := &spyAuditor{hook: func(context.Context, int, []Event) error {
		switch random.IntN(8) {
		case 0:
			return errAuditor
		case 1:
			panic("at random")
		}
		return nil
	}}
	trail, _ := trailTo(t, a)
	const callers, each = 64, 200
	var working sync.WaitGroup
	for caller := range callers {
		working.Go(func() {
			for n := range each {
				trail.record(t.Context(), Event{Action: ActionUpdate, Generation: caller, Revision: uint64(n)})
				if closes && caller == 0 && n == each/2 {
					working.Go(func() { trail.close() })
				}
			}
		})
	}
	working.Wait()
	trail.close()
	requireConserved(t, trail, a, callers*each)
	next := make(map[int]uint64)
	for _, e := range a.events() {
		require.GreaterOrEqual(t, e.Revision, next[e.Generation], "out of order or twice")
		next[e.Generation] = e.Revision + 1
	}
}
