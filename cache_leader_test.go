package keystore

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNewReadsThatFailKeepToTheirSlots: a store that refuses is asked no more often
// for wrong secrets than one that answers.
func TestNewReadsThatFailKeepToTheirSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		require.Equal(t, Reason(""), p.why(token))
		p.on(func(context.Context, string) error {
			time.Sleep(100 * time.Microsecond)
			return errors.New("refused")
		}, nil)
		reads := p.during(func() {
			end := time.Now().Add(time.Second)
			var all sync.WaitGroup
			for range 10 {
				wrong := forged(t, token)
				all.Go(func() {
					for time.Now().Before(end) {
						require.Equal(t, ReasonUnavailable, p.why(wrong))
					}
				})
			}
			all.Wait()
		})
		require.InDelta(t, 20, reads, 2)
	})
}

// TestALeaderWhoseDriverSeesTheDeadlineFirst, as sockets do, fails nobody else, and
// is no sign that the store fails.
func TestALeaderWhoseDriverSeesTheDeadlineFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet(func(o *Options) { o.StaleIfUnavailable = time.Hour })
		p.on(func(ctx context.Context, _ string) error {
			const needs = 100 * time.Millisecond
			deadline, ok := ctx.Deadline()
			if left := time.Until(deadline); ok && left < needs {
				time.Sleep(left)
				return os.ErrDeadlineExceeded
			}
			time.Sleep(needs)
			return nil
		}, nil)
		for range 20 {
			token, _ := p.generate()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			go p.Lookup(ctx, token)
			synctest.Wait()
			require.Equal(t, Reason(""), p.why(token))
			require.Equal(t, 5*time.Second, p.Stats().Bound)
			cancel()
		}
	})
}

// TestTheNextLeaderHasAWholeOpTimeout: one who waited has little of its own left, and
// would fail those who came later.
func TestTheNextLeaderHasAWholeOpTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		well := make(chan struct{})
		p.on(func(ctx context.Context, _ string) error {
			select {
			case <-well:
				time.Sleep(10 * time.Millisecond)
			case <-ctx.Done():
			}
			return ctx.Err()
		}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 1995*time.Millisecond)
		defer cancel()
		go p.Lookup(ctx, token) // makes the read
		synctest.Wait()
		go p.Lookup(context.Background(), token) // has 5 ms left for the next one
		time.Sleep(1996 * time.Millisecond)
		close(well)
		require.Equal(t, Reason(""), p.why(token))
	})
}

// TestCallersInAHurryStarveNobody: each has less time than the store needs, and one
// of them makes the read.
func TestCallersInAHurryStarveNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		p.on(func(ctx context.Context, _ string) error {
			select {
			case <-time.After(3 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, nil)
		hurry, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Microsecond)
				for hurry.Err() == nil {
					ctx, cancel := context.WithTimeout(hurry, time.Millisecond)
					p.Lookup(ctx, token)
					cancel()
					time.Sleep(time.Microsecond)
				}
			})
		}
		time.Sleep(2 * time.Millisecond)
		start := time.Now()
		require.Equal(t, Reason(""), p.why(token))
		require.Less(t, time.Since(start), 20*time.Millisecond)
		stop()
		all.Wait()
	})
}
