package keystore

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// TestMessagesDropWhatTheyName and nothing else.
func TestMessagesDropWhatTheyName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		p, there := s.told(), s.quiet()
		synctest.Wait()
		token, id := p.generate()
		second, _ := p.generate()
		p.why(token)
		p.why(second)
		_, err := there.Revoke(t.Context(), id, "")
		require.NoError(t, err)
		require.Equal(t, Reason(""), p.why(token))
		p.tell(id)
		synctest.Wait()
		require.Equal(t, int64(1), p.during(func() {
			require.Equal(t, ReasonRevoked, p.why(token))
			require.Equal(t, Reason(""), p.why(second))
		}))
		flushes := p.Stats().Flushes
		p.tell("")
		synctest.Wait()
		require.Equal(t, flushes+1, p.Stats().Flushes)
		require.Equal(t, int64(1), p.during(func() { p.why(second); p.why(second) }))
	})
}

// TestAWatchThatIsLostIsMadeAgain, after pauses that grow, with everything dropped
// each time.
func TestAWatchThatIsLostIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).told()
		synctest.Wait()
		token, _ := p.generate()
		require.Equal(t, WatchActive, p.Stats().Watch)
		p.why(token)
		p.hangUp()
		synctest.Wait()
		require.Equal(t, WatchLost, p.Stats().Watch)
		require.Equal(t, int64(1), p.during(func() { p.why(token); p.why(token) }))
		time.Sleep(firstWatchPause)
		synctest.Wait()
		require.Equal(t, WatchActive, p.Stats().Watch)
		require.Equal(t, 2, p.subscriptions())
		require.Equal(t, int64(1), p.during(func() { p.why(token); p.why(token) }), "what was read before may be outdated")

		p.mu.Lock()
		p.watch = errors.New("down")
		p.mu.Unlock()
		p.hangUp()
		time.Sleep(time.Minute)
		p.mu.Lock()
		p.watch = nil
		p.mu.Unlock()
		require.Equal(t, WatchLost, p.Stats().Watch)
		time.Sleep(maxWatchPause)
		synctest.Wait()
		require.Equal(t, WatchActive, p.Stats().Watch)
		time.Sleep(time.Minute)
		p.hangUp()
		time.Sleep(firstWatchPause)
		synctest.Wait()
		require.Equal(t, 4, p.subscriptions(), "the pause begins anew after a subscription that held")
	})
}

// TestAClosedBackendIsNotWatchedAgain, since nothing is read from it any more either.
func TestAClosedBackendIsNotWatchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).told()
		synctest.Wait()
		require.Equal(t, 1, p.subscriptions())
		answer := func(err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.watch = err
		}
		answer(backend.ErrClosed)
		p.hangUp()
		time.Sleep(time.Minute)
		answer(nil)
		time.Sleep(time.Minute)
		require.Equal(t, 1, p.subscriptions())
		require.Equal(t, WatchLost, p.Stats().Watch)
	})
}
