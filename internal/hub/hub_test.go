package hub

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestEveryWatcherHearsEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var h Hub
		a, b := h.Watch(ctx, nil), h.Watch(ctx, nil)
		h.Notify("x")
		h.Notify("y")
		for _, ch := range []<-chan string{a, b} {
			require.Equal(t, "x", <-ch)
			require.Equal(t, "y", <-ch)
		}
		cancel()
		synctest.Wait()
		_, open := <-a
		require.False(t, open)
		require.Empty(t, h.subs, "an ended subscription is forgotten")
	})
}

func TestSlowReaderIsToldThatItMissedSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		var h Hub
		ch := h.Watch(t.Context(), closed)
		for i := range 3 * maxPending { // nobody reads, and Notify returns all the same
			h.Notify(fmt.Sprint(i))
		}
		got := map[string]bool{}
		for waiting := true; waiting; {
			synctest.Wait() // until the hub has sent or has nothing to send
			select {
			case id := <-ch:
				got[id] = true
			default:
				waiting = false
			}
		}
		require.True(t, got[""], "more waited than is kept, so some were missed")
		h.Notify("after")
		require.Equal(t, "after", <-ch, "it goes on after the gap")
		close(closed)
		synctest.Wait()
		_, open := <-ch
		require.False(t, open)
	})
}

func TestAnIDThatWaitsIsNotQueuedAgain(t *testing.T) {
	s := &subscription{waiting: make(map[string]bool), wake: make(chan struct{}, 1)}
	for range 5 * maxPending {
		s.add("same")
	}
	require.Equal(t, []string{"same"}, s.take())
	s.add("same")
	require.Equal(t, []string{"same"}, s.take(), "once taken it is queued anew")
}
