package history

import (
	"fmt"
	"math/rand/v2"
	"strings"
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

// cachedRules let nothing become due for a purge: while one is under way, a cache
// may call a key revoked that is gone already.
var cachedRules = rules{retention: 1_000_000, prefix: "ks"}

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
				h, took := judgedHistory(t, server, fmt.Sprintf("history-%d", n), seed+uint64(n), false)
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

// TestHistoriesWithACache: one keystore that keeps what it has read for an hour
// goes on to answer as if it read the store each time, since all changes are its
// own. None arrives late, which would be one of somebody else.
func TestHistoriesWithACache(t *testing.T) {
	for _, s := range servers {
		if strings.HasSuffix(s.name, "behind faults") {
			continue // where a request may arrive when its line is cut already
		}
		t.Run(s.name, func(t *testing.T) {
			seed := testSeed(t)
			server, hits := s.start(t), uint64(0)
			for n := range times(max(s.histories/2, 3)) {
				h, _ := judgedHistory(t, server, fmt.Sprintf("cached-%d", n), seed+uint64(n), true)
				hits += h.hits
			}
			require.Positive(t, hits, "lookups that needed no read")
		})
	}
}

// judgedHistory makes a history and has it judged.
func judgedHistory(t *testing.T, server server, name string, seed uint64, cached bool) (*record, time.Duration) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("to make the same choices first: KEYSTORE_TEST_SEED=%d", seed)
		}
	}()
	h := runHistory(t, server, name, seed, cached)
	require.Empty(t, h.strange, "only what another client can overtake may end in a conflict")
	before := time.Now()
	rules := historyRules
	if cached {
		rules = cachedRules
	}
	rules.judge(t, h.history())
	return h, time.Since(before)
}

// runHistory lets the clients work, and at the end reads every key and presents
// every token, by when all that was under way has arrived.
func runHistory(t *testing.T, server server, name string, seed uint64, cached bool) *record {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	clock, net, h := newManualClock(), &network{prompt: cached}, newRecord()
	var open []*keystore.Keystore
	handles := uint64(handles)
	if cached {
		handles = 1
	}
	for n := range handles {
		handle := server.handle(t, name)
		defer func() { require.NoError(t, handle.Close()) }()
		open = append(open, newKeystore(t, faulty.New(handle, net.plan(seed+100*n)), clock, cached))
	}
	var all []*client
	for n := range clients {
		all = append(all, &client{
			number: n, ks: open[uint64(n)%handles], clock: clock, owner: "owner", record: h, random: rand.New(rand.NewPCG(seed, uint64(n)+1)), cached: cached,
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
		h.hits += ks.Stats().Hits
		ks.Close() // its error: last-used times that a fault lost
	}
	net.deliver()
	handle := server.handle(t, name)
	defer func() { require.NoError(t, handle.Close()) }()
	readAll(t, &client{
		number: clients, ks: newKeystore(t, handle, clock, false), clock: clock, owner: "owner", record: h, random: random, round: rounds,
	})
	return h
}

func newKeystore(t *testing.T, b backend.Backend, clock *manualClock, cached bool) *keystore.Keystore {
	t.Helper()
	size, touch, rules := -1, time.Millisecond, historyRules // what one keystore changes, another would see within CacheTTL only
	if cached {
		size, touch, rules = 0, keystore.Never, cachedRules // last-used times are as old as the entry
	}
	ks, err := keystore.New(b, &keystore.Options{
		CacheSize: size, CacheTTL: time.Hour, Now: clock.now, Retention: millis(rules.retention), TouchInterval: touch, PurgeInterval: keystore.Never,
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
