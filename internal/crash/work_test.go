package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"example.com/keystore"
	"example.com/keystore/backend"
	_ "example.com/keystore/badger"
)

const workers = 4

// job is what a working child is told.
type job struct {
	Now  int64
	Seed uint64
	Keys []key // to go on with, besides those it generates
}

// report is what a working child says: an intent before a change, and an
// acknowledgement after it.
type report struct {
	Intent *change `json:",omitempty"`
	Ack    *ack    `json:",omitempty"`
}

type ack struct {
	N      int
	Facts  facts  // as the call returned them; zero where it returns none
	Token  string // that the call issued
	Purged int
}

// work changes keys until it is killed. It opens the store as keystore.Open
// does, and keeps the backend for Touch.
func work(dir string) error {
	var j job
	if err := hear(&j); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), childLife)
	defer cancel()
	b, err := backend.Open(ctx, "badger://"+dir, nil)
	if err != nil {
		return err
	}
	ks, err := keystore.New(b, &keystore.Options{
		Now:           func() time.Time { return time.UnixMilli(j.Now) },
		Retention:     retention,
		TouchInterval: time.Millisecond, // so that last-used times are written while other changes are made
		PurgeInterval: keystore.Never,
	})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var count atomic.Int64
	for i := range workers {
		w := &worker{ks: ks, b: b, now: j.Now, count: &count, number: i, random: rand.New(rand.NewPCG(j.Seed, uint64(i)))}
		for n := i; n < len(j.Keys); n += workers {
			w.keys = append(w.keys, j.Keys[n])
		}
		go func() { failed <- w.run(ctx) }()
	}
	return <-failed
}

// worker changes its own keys, one after the other: at most one change of a key
// is under way at any time.
type worker struct {
	ks     *keystore.Keystore
	b      backend.Backend
	now    int64
	count  *atomic.Int64
	number int
	random *rand.Rand
	keys   []key // none that is due or gone
}

func (w *worker) run(ctx context.Context) error {
	for {
		c := w.choose()
		if err := w.look(ctx, c); err != nil {
			return err
		}
		if err := say(report{Intent: &c}); err != nil {
			return err
		}
		a, err := w.do(ctx, c)
		if err != nil {
			return fmt.Errorf("%s of %v: %w", c.Kind, c.IDs, err)
		}
		a.N = c.N
		if err := say(report{Ack: &a}); err != nil {
			return err
		}
		w.learn(c, a)
	}
}

// choose picks a change that must succeed.
func (w *worker) choose() change {
	c := change{N: int(w.count.Add(1)), Now: w.now}
	c.Mark = fmt.Sprintf("%d-%d", os.Getpid(), c.N)
	if w.number == 0 && w.random.IntN(8) == 0 {
		c.Kind = doPurge
		return c
	}
	if len(w.keys) < 4 || w.random.IntN(6) == 0 {
		c.Kind, c.Own = doGenerate, fmt.Sprint("owner-", w.random.IntN(5))
		if w.random.IntN(3) == 0 {
			c.At = w.now + (90 * time.Minute).Milliseconds()
		}
		return c
	}
	k := w.keys[w.random.IntN(len(w.keys))]
	c.IDs = []string{k.Facts.ID}
	for {
		c.Kind = kinds[w.random.IntN(len(kinds))]
		if w.suits(k, c.Kind) {
			break
		}
	}
	switch c.Kind {
	case doTouch:
		c.At = w.now + int64(c.N) // later than any lookup of the round
		for range w.random.IntN(3) {
			if other := w.keys[w.random.IntN(len(w.keys))].Facts.ID; other != c.IDs[0] {
				c.IDs = append(c.IDs[:1], other)
			}
		}
	case doExpire:
		c.At = w.now
		if k.expired(w.now) || w.random.IntN(3) > 0 {
			c.At += (2 * time.Hour).Milliseconds() + int64(c.N)
		}
	}
	return c
}

var kinds = []string{
	doUpdate, doDisable, doEnable, doExpire, doRotate, doRotateGrace, doEndGrace, doRevoke, doRevoke, doDelete, doTouch,
}

// suits reports whether a change of this kind is allowed and changes the key.
func (w *worker) suits(k key, kind string) bool {
	switch kind {
	case doDelete, doTouch:
		return true
	case doRotate, doRotateGrace: // no more than are remembered, or accepted at one time
		return k.Facts.Revoked == 0 && !k.expired(w.now) && k.Facts.Generation < 5
	case doEndGrace:
		return k.Facts.Revoked == 0 && !k.expired(w.now) && k.at(w.now).Grace != 0
	case doDisable, doEnable:
		return k.Facts.Revoked == 0 && k.Facts.Disabled == (kind == doEnable)
	}
	return k.Facts.Revoked == 0
}

// look looks up the tokens of the keys that are about to change, so that their
// use is noted and written while the change is made.
func (w *worker) look(ctx context.Context, c change) error {
	for _, id := range c.IDs {
		k := w.keys[w.find(id)]
		for i, s := range k.Secrets {
			if s.Token == "" {
				continue
			}
			_, err := w.ks.Lookup(ctx, s.Token)
			if got, want := reasonOf(err), k.reason(i, w.now); got != want {
				return fmt.Errorf("before %s of %s: lookup says %q, and should say %q", c.Kind, id, got, want)
			}
		}
	}
	return nil
}

func reasonOf(err error) keystore.Reason {
	if e, ok := errors.AsType[*keystore.LookupError](err); ok {
		return e.Reason
	}
	return ""
}

func (w *worker) find(id string) int {
	for i := range w.keys {
		if w.keys[i].Facts.ID == id {
			return i
		}
	}
	return -1
}

// do makes the change.
func (w *worker) do(ctx context.Context, c change) (a ack, err error) {
	var k keystore.Key
	var token keystore.Token
	switch c.Kind {
	case doGenerate:
		p := keystore.KeyParams{Owner: c.Own, Name: c.Mark, Scopes: []string{"orders:read"}}
		if c.At != 0 {
			p.ExpiresAt = time.UnixMilli(c.At)
		}
		token, k, err = w.ks.Generate(ctx, p)
	case doUpdate:
		k, err = w.update(ctx, c, func(n *keystore.Changes) { n.Metadata = map[string]string{"mark": c.Mark} })
	case doDisable, doEnable:
		k, err = w.update(ctx, c, func(n *keystore.Changes) { n.Disabled = c.Kind == doDisable })
	case doExpire:
		k, err = w.ks.Expire(ctx, c.IDs[0], time.UnixMilli(c.At))
	case doRotate:
		token, k, err = w.ks.Rotate(ctx, c.IDs[0], 0, nil)
	case doRotateGrace:
		token, k, err = w.ks.Rotate(ctx, c.IDs[0], grace, nil)
	case doEndGrace:
		k, err = w.ks.EndGrace(ctx, c.IDs[0])
	case doRevoke:
		k, err = w.ks.Revoke(ctx, c.IDs[0], c.Mark)
	case doDelete:
		return ack{}, w.ks.Delete(ctx, c.IDs[0])
	case doTouch:
		used := make(map[string]time.Time)
		for _, id := range c.IDs {
			used[id] = time.UnixMilli(c.At)
		}
		return ack{}, w.b.Touch(ctx, used)
	case doPurge:
		n, err := w.ks.Purge(ctx)
		return ack{Purged: n}, err
	}
	return ack{Facts: factsOf(k), Token: token.Reveal()}, err
}

func (w *worker) update(ctx context.Context, c change, fn func(*keystore.Changes)) (keystore.Key, error) {
	return w.ks.Update(ctx, c.IDs[0], func(n *keystore.Changes) error { fn(n); return nil })
}

// learn follows what was acknowledged.
func (w *worker) learn(c change, a ack) {
	if c.Kind == doGenerate {
		w.keys = append(w.keys, generated(c, a.Facts.ID, a.Token))
		return
	}
	for _, id := range c.IDs {
		i := w.find(id)
		w.keys[i] = w.keys[i].apply(c, a.Token)
		if w.keys[i].Gone {
			w.keys = append(w.keys[:i], w.keys[i+1:]...)
		}
	}
}

// openOnly opens the store over and over until it is killed.
func openOnly(dir string) error {
	for range 1000 {
		if err := say(report{}); err != nil {
			return err
		}
		b, err := backend.Open(context.Background(), "badger://"+dir, nil)
		if err != nil {
			return err
		}
		if err := b.Close(); err != nil {
			return err
		}
	}
	return errors.New("nobody killed it")
}
