package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// A spend whose reply is lost after the script ran, or whose request is lost before,
// counts once, and so does an addition. What is denied is denied.
func TestSpendLostOnTheWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault testserver.Fault
		runs  int // of the script
	}{
		"the reply, and the connection": {testserver.DropReply, 2},
		"half of the reply":             {testserver.CutReply, 2},
		"the reply, in silence":         {testserver.HangReply, 2},
		"the request":                   {testserver.CutBefore, 1},
		"half of the request":           {testserver.CutRequest, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openBroken(t)
			ctx := testContext(t)
			spend(t, s.past, spendOf("warm", 1, 1))
			require.NoError(t, s.past.ResetCounts(ctx, "warm"))
			addUsage(t, s.past, addition("warm", 1, 1))
			fail := func() (ran func() int) {
				t.Helper()
				before, faults := s.executed(t), s.proxy.Count(c.fault)
				s.proxy.Next(c.fault, aScript)
				return func() int {
					require.Equal(t, faults+1, s.proxy.Count(c.fault), "the fault did not happen")
					return s.executed(t) - before
				}
			}
			first := spendOf("id", 1, 6)
			ran := fail()
			require.Equal(t, backend.Spent{OK: true, Counts: []int64{6, 6}}, spend(t, s.Backend, first))
			require.Equal(t, c.runs, ran())
			require.Equal(t, []int64{6, 6}, counts(t, s.past, "id", first.Windows))

			ran = fail()
			require.Equal(t, backend.Spent{Counts: []int64{6, 6}}, spend(t, s.Backend, spendOf("id", 2, 6)), "a denial holds whatever came before")
			require.Equal(t, c.runs, ran())

			ran = fail()
			addUsage(t, s.Backend, addition("kid", 1, 5))
			require.Equal(t, c.runs, ran())
			require.Equal(t, map[string]int64{"12a": 5}, usage(t, s.past, "kid")[0].Counts)

			ran = fail()
			unknown(t, s.ResetCounts(ctx, "id"))
			require.Equal(t, c.runs-1, ran(), "not repeated: others may have spent since")
		})
	}
}

// While many spend, the server forgets its scripts, and requests and replies are lost.
// What was told to be spent is counted, and no more than what may have been.
func TestSpendUnderLoadWithFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, s *broken, await func(int)){
		"SCRIPT FLUSH": func(t *testing.T, s *broken, await func(int)) {
			for range 20 {
				assert.NoError(t, s.server.Client().ScriptFlush(testContext(t)).Err())
				await(20)
			}
		},
		"requests and replies lost": func(t *testing.T, s *broken, await func(int)) {
			faults := []testserver.Fault{testserver.CutBefore, testserver.CutRequest, testserver.DropReply, testserver.CutReply}
			s.proxy.SetPlan(func(request []byte) testserver.Fault {
				if !aScript(request) || rand.IntN(20) > 0 {
					return testserver.Pass
				}
				return faults[rand.IntN(len(faults))]
			})
			await(400)
			for range 50 { // in one request there may be several spends
				if s.proxy.Count(testserver.DropReply)+s.proxy.Count(testserver.CutReply) == 0 {
					await(100)
				}
			}
			s.proxy.SetPlan(nil)
			require.Positive(t, s.proxy.Count(testserver.DropReply)+s.proxy.Count(testserver.CutReply))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openBroken(t)
			var calls atomic.Int64
			var wg sync.WaitGroup
			ctx, stop := context.WithCancel(testContext(t))
			defer stop()
			windows := twoLimits(noon)
			for w := range 8 {
				wg.Go(func() {
					// A key of its own, or others could spend more than KeptSpends times
					// between a lost reply and the repeat.
					id, sure, maybe := fmt.Sprint("id", w), int64(0), int64(0)
					for ctx.Err() == nil {
						spent, err := s.Spend(testContext(t), backend.Spend{ID: id, SpendID: rand.Uint64(), Cost: 1, Windows: windows})
						switch {
						case err != nil:
							maybe++
						case assert.True(t, spent.OK):
							sure++
						}
						calls.Add(1)
					}
					stored, err := s.past.Counts(testContext(t), id, windows)
					assert.NoError(t, err)
					for _, n := range stored {
						assert.GreaterOrEqual(t, n, sure)
						assert.LessOrEqual(t, n, sure+maybe)
					}
				})
			}
			fault(t, s, func(n int) {
				target := calls.Load() + int64(n)
				require.Eventually(t, func() bool { return calls.Load() >= target }, waitLimit, waitTick)
			})
			stop()
			wg.Wait()
		})
	}
}

// Exactly as many pass as may, whoever asks, by way of several handles.
func TestSpendersAtOnce(t *testing.T) {
	t.Parallel()
	url := testserver.RedisURL(t)
	url = withParameter(t, url, "namespace", "spenders")
	reset := func() { require.NoError(t, openURL(t, url).ResetCounts(context.Background(), "id")) }
	reset() // of a run before, on a server that outlasts it
	defer reset()
	var passed atomic.Int64
	var wg sync.WaitGroup
	for _, b := range openAll(t, url, 3) {
		b := b.(*redis.Backend)
		for range 21 {
			wg.Go(func() {
				for range 5 {
					s := spendOf("id", rand.Uint64(), 1)
					s.Windows[0].Max, s.Windows[1].Max = 1000, 100
					spent, err := b.Spend(testContext(t), s)
					if assert.NoError(t, err) && spent.OK {
						passed.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	require.Equal(t, int64(100), passed.Load())
}

// Of a context that has ended nothing is spent, and one that ends during the call
// leaves open whether it was.
func TestSpendAndContexts(t *testing.T) {
	t.Parallel()
	s := openBroken(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Spend(ctx, spendOf("id", 1, 1))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, backend.ErrNotApplied)

	s.server.Pause()
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Spend(ctx, spendOf("id", 2, 1))
	s.server.Resume()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unknown(t, err)
	require.Equal(t, []int64{1, 1}, spend(t, s.past, spendOf("id", 2, 1)).Counts, "the same spend, and counted once")
}

// A lookup waits for its spend: where connections are refused, that gives up after no
// more of them than Get, and long before a change does.
func TestSpendGivesUpAsSoonAsGet(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	b := handleOn(t, clientOf(t, &goredis.Options{
		Addr: "127.0.0.1:1", PoolSize: 100, DialerRetries: 1, ContextTimeoutEnabled: true,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		},
	}), nil)
	ctx := testContext(t)
	during := func(call func() error) int64 {
		before := dials.Load()
		require.ErrorIs(t, call(), syscall.ECONNREFUSED)
		return dials.Load() - before
	}
	s := spendOf("id", 1, 1)
	get := during(func() error { _, err := b.Get(ctx, "id"); return err })
	require.Positive(t, get)
	require.GreaterOrEqual(t, get, during(func() error { _, err := b.Counts(ctx, "id", s.Windows); return err }))
	require.GreaterOrEqual(t, get, during(func() error {
		_, err := b.Spend(ctx, s)
		require.ErrorIs(t, err, backend.ErrNotApplied)
		return err
	}))
	require.Greater(t, during(func() error { return b.ResetCounts(ctx, "id") }), get, "a change")
}
