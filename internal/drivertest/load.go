package drivertest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// Load is several goroutines that make, look up, change, rotate, revoke and delete
// keys of their own, and count in keys that they share. What they are told is
// entered in a ledger and compared with what they are told later.
type Load struct {
	t       testing.TB
	lossy   bool
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	workers []*worker
	shared  []*counter

	mu    sync.Mutex
	tally Tally
	wrong int
}

// StartLoad starts a worker on each of the handles, which lead to one empty store.
// If lossy, the store may lose what it acknowledged, to an earlier state of the key:
// that is counted, and everything else is still an error.
func StartLoad(t testing.TB, lossy bool, handles ...backend.Backend) *Load {
	t.Helper()
	l := &Load{t: t, lossy: lossy, tally: Tally{Acknowledged: make(map[string]int), Lost: make(map[string]int)}}
	seed := uint64(time.Now().UnixNano())
	for i, b := range handles {
		l.workers = append(l.workers, &worker{
			load: l, s: newKeystore(t, b), random: rand.New(rand.NewPCG(seed, uint64(i))), owner: "worker-" + strconv.Itoa(i),
		})
	}
	for range sharedKeys {
		_, key, err := l.workers[0].s.Generate(testContext(t), keystore.KeyParams{Owner: "shared", Name: "0"})
		require.NoError(t, err)
		l.shared = append(l.shared, &counter{id: key.ID})
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for _, w := range l.workers {
		l.wait.Go(func() {
			for ctx.Err() == nil {
				w.step()
			}
		})
	}
	t.Cleanup(l.Stop)
	return l
}

// Stop ends the workers after what they are doing, and waits until they have.
func (l *Load) Stop() {
	l.cancel()
	l.wait.Wait()
}

// Tally is what came of the load so far.
func (l *Load) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tally
	t.Acknowledged, t.Lost = maps.Clone(t.Acknowledged), maps.Clone(t.Lost)
	return t
}

// Await waits until n more changes were acknowledged.
func (l *Load) Await(n int) {
	l.t.Helper()
	from := l.Tally().Changes()
	require.Eventually(l.t, func() bool { return l.Tally().Changes() >= from+n }, patience, 5*time.Millisecond, "%d more changes", n)
}

// AwaitFailures waits until n more calls failed, for the store was not available.
func (l *Load) AwaitFailures(n int) {
	l.t.Helper()
	failures := func() int {
		t := l.Tally()
		return t.Refused + t.Unknown + t.Outages
	}
	from := failures()
	require.Eventually(l.t, func() bool { return failures() >= from+n }, patience, 5*time.Millisecond, "%d more failures", n)
}

// wordedWrong is how many wrong answers a load tells one by one.
var wordedWrong = 10

// problem fails the test. The first few are shown.
func (l *Load) problem(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrong++; l.wrong <= wordedWrong {
		l.t.Errorf("%v", err)
	}
}

func (l *Load) count(add func(t *Tally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	add(&l.tally)
}

// lost notes that something acknowledged is not there.
func (l *Load) lost(what string, e *entry) {
	switch {
	case what == "":
	case l.lossy:
		l.count(func(t *Tally) { t.Lost[what]++ })
	default:
		l.problem(fmt.Errorf("a %s of key %s that was acknowledged is lost: there is %v", what, e.id, e.now))
	}
}
