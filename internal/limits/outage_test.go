package limits

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/socket"
	"example.com/keystore/internal/testserver"
)

// mortal is a store whose server is killed and started again, with all that it
// acknowledged.
type mortal struct {
	store
	kill, start func()
}

func mortalRedis(t *testing.T) mortal {
	server := testserver.StartRedis(t)
	return mortal{byURL(server.URL()), server.Kill, server.Start}
}

func mortalFerretDB(t *testing.T) mortal {
	server := testserver.StartFerretDB(t)
	return mortal{byURL(server.URL()), server.Kill, server.Start}
}

// mortalFolder is a Badger folder that a process serves.
func mortalFolder(t *testing.T) mortal {
	folder := shortFolder(t)
	server := startServer(t, folder)
	t.Cleanup(func() { server.end(t) }) // after the workers
	url := socket.URL(socketIn(folder))
	return mortal{
		store{url: url, open: func(ctx context.Context) (backend.Backend, error) { return backend.Open(ctx, url, nil) }},
		func() { server.kill() },
		func() { server = startServer(t, folder) },
	}
}

// A store is killed under load and started again. By LimitsClosed lookups are
// ErrUnavailable meanwhile, by LimitsOpen they pass, and say that nothing was
// counted. Whichever it is, no more are let through as counted than the limit allows.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		name  string
		start func(t *testing.T) mortal
		long  bool
	}{
		{"redis", mortalRedis, false},
		{"badger in a process", mortalFolder, false},
		{"ferretdb", mortalFerretDB, true},
	} {
		for _, policy := range []string{"closed", "open"} {
			if s.long && !long() {
				continue
			}
			t.Run(s.name+" "+policy, func(t *testing.T) {
				t.Parallel()
				for range sized(1, 5) {
					outage(t, s.start(t), policy == "open")
				}
			})
		}
	}
}

func outage(t *testing.T, s mortal, open bool) {
	o := settings{Open: open, OpTimeout: 2 * time.Second}
	f := startFleet(t, s.store, o)
	const most = 10_000
	id, token := f.limited(t, limit("hour", most, time.Hour))
	f.open(t, o) // they hear no more of the key's making, upon which they would forget it
	f.each(t, request{Do: "begin", Now: noon.UnixMilli(), Running: true, Callers: 9, Tokens: []string{token}})
	f.await(t, "all workers count", func(_, now seen) bool { return now.Passed > 20 })
	s.kill()
	f.await(t, "all workers notice", func(_, now seen) bool {
		if open {
			return now.Unchecked > 20
		}
		return now.Unavailable > 3
	})
	s.start()
	restarted := time.Now()
	f.await(t, "all workers count again", func(before, now seen) bool { return now.Passed > before.Passed+5 })
	t.Logf("counting again in all workers %v after the restart", time.Since(restarted).Round(time.Millisecond))
	all := gather(f.each(t, request{Do: "end"}))
	left := f.remaining(t, id, noon)["hour"]
	passed, unchecked, unavailable := judgeOutage(t, all, open)
	t.Logf("%d passed, %d unchecked, %d unavailable; %d left", passed, unchecked, unavailable, left)
	counted := most - int(left)
	require.LessOrEqual(t, passed, counted, "what passed is forgotten")
	require.LessOrEqual(t, counted, passed+unchecked+unavailable, "more is counted than was asked for")

	// All but a few of what is left at once, and then by all.
	f.open(t, settings{})
	const few = 20
	end := noon.Add(time.Hour)
	f.look(t, noon, request{Callers: 1, Each: 1, Tokens: []string{token}, Costs: []int64{left - few}})
	f.look(t, noon, single(64, token)).require(t, expected{limit: "hour", left: few, passes: few, now: noon, reset: end})
}

// judgeOutage counts the answers, and refuses those that are never right.
func judgeOutage(t *testing.T, all answers, open bool) (passed, unchecked, unavailable int) {
	t.Helper()
	for _, one := range all {
		require.Empty(t, one.Wrong)
		switch {
		case one.Unchecked:
			require.True(t, open && one.passed() && one.Limits == nil, "%+v", one)
			unchecked++
		case one.passed():
			require.NotEmpty(t, one.Limits)
			passed++
		case one.Reason == keystore.ReasonUnavailable:
			require.False(t, open, "%+v", one)
			unavailable++
		default:
			require.Equal(t, keystore.ReasonRateLimited, one.Reason)
		}
	}
	return passed, unchecked, unavailable
}

// await waits until something holds of the load of each worker, against how it was.
func (f *fleet) await(t *testing.T, what string, holds func(before, now seen) bool) {
	t.Helper()
	before := f.each(t, request{Do: "progress"})
	require.Eventually(t, func() bool {
		for i, r := range f.each(t, request{Do: "progress"}) {
			if !holds(before[i].Seen, r.Seen) {
				return false
			}
		}
		return true
	}, patience, 5*time.Millisecond, what)
}

// While a store is silent, LimitsOpen lets the lookups after the third failure pass
// at once: the store is asked once a second, and not by each.
func TestSilentStore(t *testing.T) {
	t.Parallel()
	l := lossyRedis(t)
	w := &worker{open: func(ctx context.Context) (backend.Backend, error) { return backend.Open(ctx, l.url, nil) }}
	t.Cleanup(func() { require.NoError(t, w.close()) })
	f := startFleet(t, store{open: l.open, near: workers}, settings{})
	_, token := f.limited(t, limit("hour", 100, time.Hour))
	const timeout = 300 * time.Millisecond
	_, err := w.do(request{Do: "open", Now: noon.UnixMilli(), Running: true, Settings: settings{Open: true, OpTimeout: timeout}})
	require.NoError(t, err)
	look := request{Do: "look", Callers: 1, Each: 1, Tokens: []string{token}}
	first, err := w.do(look)
	require.NoError(t, err)
	require.True(t, first.Answers[0].passed() && !first.Answers[0].Unchecked, "%+v", first)

	l.line.BlackHole(true)
	const lookups = 100
	began := time.Now()
	look.Each = lookups
	during, err := w.do(look)
	took := time.Since(began)
	require.NoError(t, err)
	for _, one := range during.Answers {
		require.True(t, one.passed() && one.Unchecked, "%+v", one)
	}
	spends := during.Spends - first.Spends
	t.Logf("%d lookups in %v, %d calls of the store", lookups, took.Round(time.Millisecond), spends)
	require.GreaterOrEqual(t, spends, int64(3))
	require.LessOrEqual(t, spends, 3+1+int64(took/time.Second), "three failures, and one a second")

	l.line.BlackHole(false)
	look.Each = 1
	healed := time.Now()
	require.Eventually(t, func() bool {
		r, err := w.do(look)
		require.NoError(t, err)
		require.True(t, r.Answers[0].passed())
		return !r.Answers[0].Unchecked
	}, patience, 10*time.Millisecond)
	t.Logf("counting again %v after the store answers", time.Since(healed).Round(time.Millisecond))
}
