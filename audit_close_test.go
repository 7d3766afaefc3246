package keystore

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCloseDeliversWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &spyAuditor{hook: failTimes(8)} // 50 ms to 5 s apart: in a pause when it closes
		trail, _ := trailTo(t, a)
		for n := range 600 {
			trail.record(t.Context(), numbered(n))
		}
		time.Sleep(5 * time.Second)
		require.Empty(t, a.events())
		began := time.Now()
		require.Zero(t, trail.close())
		require.Less(t, time.Since(began), 2*time.Second)
		require.Equal(t, upTo(600), a.revisions())
	})
}

func TestCloseEndsWithinItsTimeout(t *testing.T) {
	for name, hook := range map[string]func(ctx context.Context) error{
		"fails": func(context.Context) error { return errAuditor },
		"waits": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"slow":  func(context.Context) error { time.Sleep(1400 * time.Millisecond); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &spyAuditor{hook: func(ctx context.Context, _ int, _ []Event) error { return hook(ctx) }}
				trail, log := trailTo(t, a)
				for n := range 1024 {
					trail.record(t.Context(), numbered(n))
				}
				began := time.Now()
				lost := trail.close()
				require.LessOrEqual(t, time.Since(began), 4*time.Second, "the timeout, and the call under way")
				require.Positive(t, lost)
				requireConserved(t, trail, a, 1024)
				require.Contains(t, log.String(), fmt.Sprintf("lost=%d", lost))
				require.NotContains(t, log.String(), "left behind")
				require.Equal(t, lost, trail.close(), "again")
			})
		})
	}
}

// An Auditor that ignores its context is left alone, and the log says so. What it
// takes later counts as lost.
func TestCloseGivesUpOnAnAuditorThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, release := blocked()
		trail, log := trailTo(t, a)
		held := fill(t, trail)
		var late sync.WaitGroup
		late.Go(func() { trail.record(t.Context(), numbered(held)) })
		synctest.Wait()
		trail.refused(t.Context(), errMalformed) // a sum: the queue has no room
		began := time.Now()
		require.Equal(t, held+2, trail.close())
		require.Equal(t, 2*time.Second+auditGrace, time.Since(began))
		require.Contains(t, log.String(), "left behind")
		late.Wait()
		release()
		synctest.Wait()
		require.Len(t, a.events(), 1, "only the call that was under way")
		require.Equal(t, uint64(held+2), trail.lost())
	})
}

func TestRecordAfterCloseIsCounted(t *testing.T) {
	a := &spyAuditor{}
	trail, log := trailTo(t, a)
	require.Zero(t, trail.close())
	trail.record(t.Context(), numbered(0))
	trail.refused(t.Context(), errMalformed)
	require.Equal(t, uint64(1), trail.lost())
	require.Contains(t, log.String(), "the Keystore is closed")
	require.Empty(t, a.events())
	require.Empty(t, trail.queue)
	require.Empty(t, kindsOf(trail), "nothing grows any more")
}

// Whoever waits for room while it closes gets it, if the Auditor goes on.
func TestCloseDeliversWhatWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, release := blocked()
		defer release()
		trail, _ := trailTo(t, a)
		held := fill(t, trail)
		var late sync.WaitGroup
		late.Go(func() { trail.record(t.Context(), numbered(held)) })
		synctest.Wait()
		late.Go(func() { trail.close() })
		synctest.Wait()
		release()
		late.Wait()
		require.Zero(t, trail.lost())
		require.Equal(t, upTo(held+1), a.revisions())
	})
}
