package mongo_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

// watched is a store with a watcher, on a server whose clock the test sets.
type watched struct {
	*wire
	t       *testing.T
	ctx     context.Context
	b       *mongo.Backend
	changes <-chan string

	mu  sync.Mutex
	now time.Time
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{wire: startWire(t, mongowire.Primary), t: t, ctx: testContext(t), now: serverTime}
	w.store.SetClock(func(string) time.Time { return w.clock() })
	w.SetClock(w.clock)
	w.b = w.open(t, nil)
	changes, err := w.b.Watch(w.ctx)
	require.NoError(t, err)
	w.changes = changes
	return w
}

func (w *watched) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watched) setClock(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = at
}

func (w *watched) create(id string) {
	w.t.Helper()
	require.NoError(w.t, w.b.Create(w.ctx, backend.Record{ID: id, Owner: "alice", Data: []byte("d")}))
}

// hears reads until each of the ids has come, and returns all that came before
// the last of them.
func hears(t *testing.T, changes <-chan string, ids ...string) []string {
	t.Helper()
	missing := make(map[string]bool)
	for _, id := range ids {
		missing[id] = true
	}
	var all []string
	for late := time.After(waitLimit); len(missing) > 0; {
		select {
		case id, open := <-changes:
			require.True(t, open)
			all = append(all, id)
			delete(missing, id)
		case <-late:
			require.Failf(t, "some did not come", "%v; came: %q", missing, all)
		}
	}
	return all
}

// polls waits for n more polls that were answered, and so for what they found.
func (w *watched) polls(n int) {
	w.t.Helper()
	finds := len(w.sent.Commands("find")) + 1 // one may be under way
	require.Eventually(w.t, func() bool { return len(w.sent.Commands("find")) > finds+n }, waitLimit, waitTick)
}

func TestWatchTellsAChangeOnce(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.create("a")
	hears(t, w.changes, "a")
	w.polls(3)
	w.create("b")
	assert.Equal(t, []string{"b"}, hears(t, w.changes, "b"))
	for n := range uint64(5) { // within one millisecond of the server's clock
		require.NoError(t, w.b.Update(w.ctx, backend.Record{ID: "a", Data: fmt.Append(nil, n), Revision: n + 1}))
		assert.Equal(t, []string{"a"}, hears(t, w.changes, "a"))
	}
	for range 5 { // and each time with the same revision
		require.NoError(t, w.b.Delete(w.ctx, "a"))
		hears(t, w.changes, "a")
		w.create("a")
		hears(t, w.changes, "a")
	}
	require.NoError(t, w.b.Delete(w.ctx, "a"))
	hears(t, w.changes, "a")
	require.NoError(t, w.b.Delete(w.ctx, "a"))
	require.NoError(t, w.b.Delete(w.ctx, "never there"))
	w.create("c")
	assert.Equal(t, []string{"c"}, hears(t, w.changes, "c"), "a Delete of nothing changes nothing")
}

func TestWatchTellsNothingOfBefore(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.create("a")
	changes, err := w.b.Watch(w.ctx)
	require.NoError(t, err)
	w.create("b")
	assert.Equal(t, []string{"b"}, hears(t, changes, "b"))
}

// The clocks of two shards are 3 s apart, and 5 s from that of the router.
func TestWatchWithClocksApart(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.store.SetClock(func(id string) time.Time {
		if id[0] == 's' {
			return w.clock().Add(-5 * time.Second)
		}
		return w.clock().Add(-2 * time.Second)
	})
	for i := range 20 {
		w.setClock(serverTime.Add(time.Duration(i) * time.Second))
		fast, slow := fmt.Sprint("fast-", i), fmt.Sprint("slow-", i)
		w.create(fast)
		hears(t, w.changes, fast)
		w.polls(1)
		w.create(slow)
		hears(t, w.changes, slow)
	}
	require.NoError(t, w.b.Delete(w.ctx, "slow-3"))
	assert.Equal(t, []string{"slow-3"}, hears(t, w.changes, "slow-3"))
}

// One clock that was wrong once, by any amount, makes nobody blind.
func TestWatchWithAChangeFromTheFuture(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.store.SetClock(func(id string) time.Time {
		if id == "wrong" {
			return serverTime.AddDate(100, 0, 0)
		}
		return w.clock()
	})
	w.create("wrong")
	hears(t, w.changes, "wrong")
	for i := range 5 {
		w.setClock(serverTime.Add(time.Duration(i) * 5 * time.Second))
		w.create(fmt.Sprint("a", i))
		assert.Equal(t, []string{fmt.Sprint("a", i)}, hears(t, w.changes, fmt.Sprint("a", i)))
	}
}

// After a failover the server's clock may be an earlier one.
func TestWatchWithAClockSetBack(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.create("a")
	hears(t, w.changes, "a")
	w.setClock(serverTime.Add(-time.Minute))
	hears(t, w.changes, "")
	w.create("b")
	hears(t, w.changes, "b")
	w.setClock(serverTime.Add(-time.Minute - 6*time.Second)) // a little is covered by the window
	w.create("c")
	assert.Equal(t, []string{"c"}, hears(t, w.changes, "c"))
	w.polls(2)
	w.setClock(serverTime.Add(-time.Minute - 12*time.Second)) // a little more and more is not
	hears(t, w.changes, "")
	w.create("d")
	hears(t, w.changes, "d")
}

// A watcher that was away for long may have missed tombstones: a process that was
// stopped, or a machine that slept.
func TestWatchAfterALongGap(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.create("a")
	hears(t, w.changes, "a")
	w.setClock(serverTime.Add(6 * time.Minute))
	hears(t, w.changes, "")
	w.create("b")
	assert.Equal(t, []string{"b"}, hears(t, w.changes, "b"))
}

// A watcher that was away for less, with nothing failing, has missed nothing.
func TestWatchAfterAShortGap(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.store.SetClock(func(id string) time.Time {
		if id == "a" { // nor does one that claims to be of later mislead
			return serverTime.Add(time.Hour)
		}
		return w.clock()
	})
	w.create("a")
	hears(t, w.changes, "a")
	asking, goOn := make(chan struct{}), make(chan struct{})
	w.faults.Nth(1, mongowire.Named("hello"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		close(asking)
		<-goOn
		return apply()
	})
	<-asking
	w.setClock(serverTime.Add(30 * time.Second))
	w.create("b")
	w.setClock(serverTime.Add(4 * time.Minute))
	close(goOn)
	assert.Equal(t, []string{"b"}, hears(t, w.changes, "b"))
}

// When nothing happens, what happened last is not read again for ever.
func TestWatchOfAQuietStore(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.create("a")
	hears(t, w.changes, "a")
	from := func() time.Time {
		finds := w.sent.Commands("find")
		return finds[len(finds)-1].Filters()[0].Lookup("changed", "$gte").Time().UTC()
	}
	w.polls(2)
	assert.Equal(t, serverTime.Add(-10*time.Second), from())
	for i := range 5 {
		w.setClock(serverTime.Add(time.Duration(i) * 30 * time.Second))
		w.polls(2)
	}
	assert.Equal(t, serverTime.Add(2*time.Minute-time.Minute), from())
	w.create("b")
	assert.Equal(t, []string{"b"}, hears(t, w.changes, "b"))
}

func TestWatchOfTooManyChanges(t *testing.T) {
	t.Parallel()
	w := watch(t)
	var many []any
	for i := range mongo.MaxChanges + 1 {
		many = append(many, d("_id", fmt.Sprint("many-", i), "owner", "alice", "rev", int64(1), "data", []byte("d"), "changed", serverTime, "write_id", int64(1)))
	}
	_, err := connect(t, w.URL()).Database("test").Collection("keys").InsertMany(w.ctx, many)
	require.NoError(t, err)
	assert.Equal(t, "", hears(t, w.changes, "")[0])
	w.setClock(serverTime.Add(11 * time.Second)) // they are out of the window now
	w.create("b")
	hears(t, w.changes, "b")
}

// What the poll found and what failed meanwhile is told when the server is back.
func TestWatchAfterAnOutage(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]func(p *testserver.Proxy, on bool){
		"refused": (*testserver.Proxy).Refuse,
		"silent":  (*testserver.Proxy).BlackHole,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t, mongowire.Standalone)
			sound, ctx := w.open(t, nil), testContext(t)
			require.NoError(t, sound.Create(ctx, backend.Record{ID: "gone", Owner: "alice"}))
			p := testserver.StartProxy(t, w.Addr())
			var log logBuffer
			b := newBackend(t, connect(t, "mongodb://"+p.Addr()+"/").Database("test").Collection("keys"),
				&mongo.Options{PollInterval: poll, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			changes, err := b.Watch(ctx)
			require.NoError(t, err)
			require.NoError(t, sound.Create(ctx, backend.Record{ID: "before", Owner: "alice"}))
			hears(t, changes, "before")

			outage(p, true)
			require.NoError(t, sound.Create(ctx, backend.Record{ID: "amid", Owner: "alice"}))
			require.NoError(t, sound.Delete(ctx, "gone"))
			require.Eventually(t, func() bool { return log.contains("changes cannot be followed") }, waitLimit, waitTick)
			outage(p, false)
			all := hears(t, changes, "amid", "gone", "")
			assert.Equal(t, "", all[0])
			assert.Equal(t, 1, log.count("changes cannot be followed"), "said once")

			require.NoError(t, sound.Create(ctx, backend.Record{ID: "after", Owner: "alice"}))
			assert.Equal(t, []string{"after"}, hears(t, changes, "after"))
		})
	}
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.Bytes(), []byte(text))
}

func (l *logBuffer) contains(text string) bool { return l.count(text) > 0 }

// The end of a watcher waits for nothing, neither its reader nor its server.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(cancel context.CancelFunc, b *mongo.Backend) error{
		"with its context": func(cancel context.CancelFunc, _ *mongo.Backend) error { cancel(); return nil },
		"with the backend": func(_ context.CancelFunc, b *mongo.Backend) error { return b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			released := make(chan struct{})
			t.Cleanup(func() { close(released) })
			var hanging atomic.Int32
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			changes, err := w.b.Watch(ctx)
			require.NoError(t, err)
			w.faults.Each(mongowire.Named("find"), func(cmd mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
				hanging.Add(1)
				return mongowire.HangBefore(released)(cmd, apply)
			})
			require.Eventually(t, func() bool { return hanging.Load() >= 2 }, waitLimit, waitTick)
			require.NoError(t, end(cancel, w.b))
			select {
			case _, open := <-changes:
				assert.False(t, open)
			case <-time.After(waitLimit):
				assert.Fail(t, "it is open")
			}
		})
	}
}

func TestWatchOfADownServer(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	w.faults.Each(mongowire.Named("find"), mongowire.CloseBefore)
	_, err := b.Watch(testContext(t))
	require.Error(t, err, "nobody is told to be subscribed who is not")
	w.faults.Clear()
	_, err = b.Watch(testContext(t))
	require.NoError(t, err)
}
