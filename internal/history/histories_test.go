package history

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
)

// A history has few keys and few calls of each client at a time, because what
// porcupine has to try grows fast with the calls that overlap.
const (
	clients       = 5
	handles       = 3 // on the store, each with a keystore
	rounds        = 5 // between which the clock moves, when no call is under way
	stepsPerRound = 5 // of each client
)

var historyRules = rules{retention: 60, prefix: "ks"}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// TestHistories: whatever goes wrong on the way to the store, all answers can be
// explained by the calls happening one after the other, each within the time
// from its start to its return.
func TestHistories(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			seed := testSeed(t)
			server, count := s.start(t), times(s.histories)
			calls, judged, ended := 0, time.Duration(0), make(map[verdict]int)
			for n := range count {
				h, took := judgedHistory(t, server, fmt.Sprintf("history-%d", n), seed+uint64(n))
				judged += took
				for v, times := range h.ended {
					calls, ended[v] = calls+times, ended[v]+times
				}
			}
			t.Logf("%d histories, %d calls, judged in %v: %v", count, calls, judged.Round(time.Millisecond), ended)
			if calls < enough/10 {
				return
			}
			for _, v := range []verdict{done, unknown, unavailable, badState, notFound, "revoked", "disabled", "expired", "superseded"} {
				require.Positive(t, ended[v], "calls that end with %q are met", v)
			}
		})
	}
}

// judgedHistory makes a history and has it judged.
func judgedHistory(t *testing.T, server server, name string, seed uint64) (*record, time.Duration) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("to make the same choices first: KEYSTORE_TEST_SEED=%d", seed)
		}
	}()
	h := runHistory(t, server, name, seed)
	require.Empty(t, h.strange, "only what another client can overtake may end in a conflict")
	before := time.Now()
	historyRules.judge(t, h.history())
	return h, time.Since(before)
}

// runHistory lets the clients work, and at the end reads every key and presents
// every token, by when all that was under way has arrived.
func runHistory(t *testing.T, server server, name string, seed uint64) *record {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	clock, net, h := newManualClock(), new(network), newRecord()
	var open []*keystore.Keystore
	for n := range uint64(handles) {
		handle := server.handle(t, name)
		defer func() { require.NoError(t, handle.Close()) }()
		open = append(open, newKeystore(t, faulty.New(handle, net.plan(seed+100*n)), clock))
	}
	var all []*client
	for n := range clients {
		all = append(all, &client{
			number: n, ks: open[n%handles], clock: clock, owner: "owner", record: h, random: rand.New(rand.NewPCG(seed, uint64(n)+1)),
		})
	}
	server.breaking(true)
	defer server.breaking(false)
	for round := range rounds {
		var running sync.WaitGroup
		for _, cl := range all {
			cl.round = round
			running.Go(func() {
				for range stepsPerRound {
					cl.step(t.Context())
				}
			})
		}
		running.Wait()
		net.settle()
		clock.set(clock.ms()+random.Int64N(80), 0)
	}
	server.breaking(false)
	net.deliver()
	for _, ks := range open {
		ks.Close() // its error: last-used times that a fault lost
	}
	net.deliver()
	handle := server.handle(t, name)
	defer func() { require.NoError(t, handle.Close()) }()
	readAll(t, &client{
		number: clients, ks: newKeystore(t, handle, clock), clock: clock, owner: "owner", record: h, random: random, round: rounds,
	})
	return h
}

func newKeystore(t *testing.T, b backend.Backend, clock *manualClock) *keystore.Keystore {
	t.Helper()
	ks, err := keystore.New(b, &keystore.Options{
		Now: clock.now, Retention: millis(historyRules.retention), TouchInterval: time.Millisecond, PurgeInterval: keystore.Never,
	})
	require.NoError(t, err)
	return ks
}

// readAll is the client that comes last, whose calls do not fail.
func readAll(t *testing.T, cl *client) {
	t.Helper()
	defer cl.ks.Close()
	failed := cl.record.ended[unavailable]
	tokens, ids := cl.record.known()
	for _, id := range ids {
		cl.get(t.Context(), id)
	}
	for _, token := range tokens {
		cl.present(t.Context(), token)
	}
	cl.list(t.Context(), "")
	require.Equal(t, failed, cl.record.ended[unavailable])
}
