package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"example.com/keystore"
)

// The size of a load: of keys that one worker has at a time, and of shared ones.
const (
	ownKeys    = 12
	sharedKeys = 4
)

// counter is a key that all workers change: its name is a number, which each adds 1
// to.
type counter struct {
	id string

	mu           sync.Mutex
	acknowledged int
	unknown      int
}

// worker changes keys of its own.
type worker struct {
	load    *Load
	s       *keystore.Keystore
	random  *rand.Rand
	owner   string
	entries []*entry // all that it ever made
	alive   []*entry // those that it works on
	n       int      // changes so far, which makes names different
}

// opTimeout is what a worker waits for one call. It is more than keystore's own bound
// on the calls that it makes in turn.
const opTimeout = 15 * time.Second

// step makes one call.
func (w *worker) step() {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	if len(w.alive) == 0 || len(w.alive) < ownKeys && w.random.IntN(4) == 0 {
		w.generate(ctx)
		return
	}
	i := w.random.IntN(len(w.alive))
	e := w.alive[i]
	switch n := w.random.IntN(20); {
	case n < 4:
		w.increment(ctx, w.load.shared[w.random.IntN(sharedKeys)])
	case n < 10 || e.maybe != nil || !e.now.there || e.now.revoked && n < 18:
		w.look(ctx, e)
	case e.now.revoked:
		w.change(ctx, e, remove)
	case n < 15:
		w.n++
		w.change(ctx, e, rename(fmt.Sprintf("name %d", w.n)))
	case n < 17 && e.now.generation < mostGenerations:
		w.change(ctx, e, rotate)
	case n < 19:
		w.change(ctx, e, revoke)
	default:
		w.change(ctx, e, remove)
	}
	// What is gone or in doubt is looked at for a while, and not changed any more.
	if (!e.now.there || e.maybe != nil) && w.random.IntN(8) == 0 {
		w.alive = slices.Delete(w.alive, i, i+1)
	}
}

func (w *worker) generate(ctx context.Context) {
	e := &entry{}
	if w.change(ctx, e, generate(w.owner)) != refused {
		w.entries, w.alive = append(w.entries, e), append(w.alive, e)
	}
}

func (w *worker) change(ctx context.Context, e *entry, op operation) outcome {
	result, loss, wrong := e.do(ctx, w.s, op)
	w.load.problem(wrong)
	w.load.lost(loss, e)
	w.load.count(func(t *Tally) {
		switch result {
		case acknowledged:
			t.Acknowledged[op.name]++
		case unknown:
			t.Unknown++
		case refused:
			t.Refused++
		}
	})
	return result
}

func (w *worker) look(ctx context.Context, e *entry) {
	if w.random.IntN(3) == 0 {
		w.load.looked(e)(e.get(ctx, w.s))
		return
	}
	w.load.looked(e)(e.lookup(ctx, w.s, 1+w.random.IntN(max(e.now.generation, 1))))
}

// looked enters what came of a look at a key.
func (l *Load) looked(e *entry) func(answered bool, loss string, wrong error) {
	return func(answered bool, loss string, wrong error) {
		l.problem(wrong)
		l.lost(loss, e)
		l.count(func(t *Tally) {
			if answered {
				t.Answers++
			} else {
				t.Outages++
			}
		})
	}
}

func (w *worker) increment(ctx context.Context, c *counter) {
	key, err := w.s.Update(ctx, c.id, func(changes *keystore.Changes) error {
		n, err := strconv.Atoi(changes.Name)
		changes.Name = strconv.Itoa(n + 1)
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.acknowledged++
		w.load.count(func(t *Tally) { t.Acknowledged["count"]++ })
		w.load.problem(c.check(key))
	case errors.Is(err, keystore.ErrUnknownOutcome):
		c.unknown++
		w.load.count(func(t *Tally) { t.Unknown++ })
	case errors.Is(err, keystore.ErrUnavailable):
		w.load.count(func(t *Tally) { t.Refused++ })
	case errors.Is(err, keystore.ErrConflict): // others were faster, 16 times
	default:
		w.load.problem(fmt.Errorf("update of a shared key: %w", err))
	}
}

// check compares the number of a counter with its revision: each change adds 1 to
// both.
func (c *counter) check(key keystore.Key) error {
	if strconv.FormatUint(key.Revision()-1, 10) != key.Name {
		return fmt.Errorf("a shared key counts %s at revision %d", key.Name, key.Revision())
	}
	return nil
}
