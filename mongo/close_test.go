package mongo_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
)

func openURL(t *testing.T, url string) backend.Backend {
	t.Helper()
	b, err := backend.Open(testContext(t), url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// A client that was given stays its owner's; one that opening made is gone.
func TestCloseEndsWhatWasOpened(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	p := testserver.StartProxy(t, w.Addr())
	url := "mongodb://" + p.Addr() + "/test"
	client := connect(t, url)
	b := newBackend(t, client.Database("test").Collection("keys"), nil)
	require.NoError(t, b.Close())
	require.NoError(t, client.Ping(testContext(t), nil))
	open := p.Open()

	owner := openURL(t, url)
	require.Greater(t, p.Open(), open)
	_, err := owner.(backend.Watcher).Watch(testContext(t))
	require.NoError(t, err)
	require.NoError(t, owner.Close())
	require.Eventually(t, func() bool { return p.Open() == open }, waitLimit, waitTick)
	require.NoError(t, owner.Close())
}

// A server that hangs does not hold Close for long, and what was under way says
// what it knows.
func TestCloseWithAHangingServer(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := openURL(t, w.URL()+"test")
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	w.faults.Each(mongowire.Named("update"), mongowire.ApplyThenHang(released))
	w.faults.Each(mongowire.Named("find"), mongowire.HangBefore(released))
	w.sent.Reset()
	var wrote, read error
	var calls sync.WaitGroup
	calls.Go(func() { wrote = b.Create(testContext(t), backend.Record{ID: "a", Owner: "alice"}) })
	calls.Go(func() { _, read = b.Get(testContext(t), "a") })
	require.Eventually(t, func() bool { return len(w.sent.Commands("find", "update")) == 2 }, waitLimit, waitTick)
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(waitLimit):
		require.Fail(t, "Close hangs")
	}
	calls.Wait()
	require.ErrorIs(t, read, backend.ErrClosed)
	require.Error(t, wrote)
	assert.NotErrorIs(t, wrote, backend.ErrClosed, "it was made")
	assert.NotErrorIs(t, wrote, backend.ErrNotApplied)
	assert.Len(t, w.documents(), 1)
}

// A call that has yet to be sent when its backend is closed was not made.
func TestCloseDuringCalls(t *testing.T) {
	t.Parallel()
	for range 20 {
		w := startWire(t)
		b := openURL(t, w.URL()+"test")
		ctx := testContext(t)
		require.NoError(t, b.Create(ctx, backend.Record{ID: "there", Owner: "alice", PurgeAt: now}))
		var calls sync.WaitGroup
		begun := make(chan struct{}, 100)
		for i := range 8 {
			calls.Go(func() {
				for n := 0; ; n++ {
					id := string(rune('a'+i)) + "-" + time.Duration(n).String()
					err := b.Create(ctx, backend.Record{ID: id, Owner: "alice"})
					select {
					case begun <- struct{}{}:
					default:
					}
					if err == nil {
						continue
					}
					if !errors.Is(err, backend.ErrClosed) {
						t.Error(err)
					}
					return
				}
			})
		}
		for range 20 {
			<-begun
		}
		require.NoError(t, b.Close())
		calls.Wait()
	}
}

func TestCloseDuringWatch(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	for range 50 {
		b := w.open(t, nil)
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				changes, err := b.Watch(context.Background())
				if err != nil {
					if !errors.Is(err, backend.ErrClosed) {
						t.Error(err)
					}
					return
				}
				for range changes { //nolint:revive // until it is closed
				}
			})
		}
		require.NoError(t, b.Close())
		calls.Wait()
	}
}
