package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/badger"
)

// openBusy opens a database whose records lie in the value log, in files so
// small that compaction and garbage collection have work all the time.
func openBusy(t *testing.T, dir string) *badgerdb.DB {
	t.Helper()
	db, err := badgerdb.Open(badgerdb.DefaultOptions(dir).WithLogger(nil).WithMetricsEnabled(false).
		WithValueThreshold(64).WithValueLogFileSize(1 << 20).WithMemTableSize(2 << 20).
		WithBaseTableSize(256 << 10).WithBaseLevelSize(512 << 10).WithLevelSizeMultiplier(2).
		WithNumCompactors(2).WithNumLevelZeroTables(1).WithNumLevelZeroTablesStall(3).WithNumMemtables(1))
	require.NoError(t, err)
	return db
}

// tidyUp does what Badger does in the background, and as much of it as there is.
// It returns how many files of the value log were rewritten.
func tidyUp(db *badgerdb.DB) (rewritten int, err error) {
	if err := db.Flatten(2); err != nil {
		return 0, err
	}
	return collect(db)
}

func collect(db *badgerdb.DB) (rewritten int, err error) {
	for range 100 {
		err := db.RunValueLogGC(0.01)
		if errors.Is(err, badgerdb.ErrNoRewrite) || errors.Is(err, badgerdb.ErrRejected) {
			break
		}
		if err != nil {
			return rewritten, err
		}
		rewritten++
	}
	return rewritten, nil
}

// past is what was acknowledged of a key.
type past struct {
	id, token string
	revision  uint64
	revoked   bool
	deleted   bool
}

// check checks that the key is in no older state.
func (p past) check(ctx context.Context, ks *keystore.Keystore) error {
	k, err := ks.Get(ctx, p.id)
	_, lookup := ks.Lookup(ctx, p.token)
	switch {
	case p.deleted && (!errors.Is(err, keystore.ErrNotFound) || reasonOf(lookup) != keystore.ReasonUnknownKey):
		return fmt.Errorf("key %s was deleted, and is there again: %v, %v", p.id, err, lookup)
	case p.deleted:
		return nil
	case err != nil:
		return err
	case k.Revision() < p.revision:
		return fmt.Errorf("key %s was at revision %d, and is at %d again", p.id, p.revision, k.Revision())
	case p.revoked && !errors.Is(lookup, keystore.ErrRevoked):
		return fmt.Errorf("key %s was revoked, and the lookup says %v", p.id, lookup)
	case !p.revoked && lookup != nil:
		return lookup
	}
	return nil
}

// herd is a worker's keys and what it did to them.
type herd struct {
	ks     *keystore.Keystore
	random *rand.Rand
	name   string
	keys   []past
}

// step generates a key, or changes one.
func (h *herd) step(ctx context.Context) error {
	if len(h.keys) < 20 || h.random.IntN(8) == 0 {
		token, k, err := h.ks.Generate(ctx, keystore.KeyParams{
			Owner: h.name, Metadata: map[string]string{"padding": strings.Repeat("x", 1000+h.random.IntN(8000))},
		})
		h.keys = append(h.keys, past{id: k.ID, token: token.Reveal(), revision: k.Revision()})
		return err
	}
	p := &h.keys[len(h.keys)-1-h.random.IntN(min(40, len(h.keys)))] // a recent one
	if p.deleted {
		return nil
	}
	switch n := h.random.IntN(10); {
	case n == 0:
		p.deleted = true
		return h.ks.Delete(ctx, p.id)
	case n == 1 && !p.revoked:
		k, err := h.ks.Revoke(ctx, p.id, "leaked")
		p.revoked, p.revision = true, k.Revision()
		return err
	case !p.revoked:
		k, err := h.ks.Update(ctx, p.id, func(c *keystore.Changes) error {
			c.Description = fmt.Sprint(h.random.Uint64())
			return nil
		})
		p.revision = k.Revision()
		return err
	}
	return nil
}

// check checks all keys, and that none is there which should not be.
func (h *herd) check(ctx context.Context) error {
	left := 0
	for _, p := range h.keys {
		if err := p.check(ctx, h.ks); err != nil {
			return err
		}
		if !p.deleted {
			left++
		}
	}
	for k, err := range h.ks.All(ctx, h.name) {
		if err != nil {
			return fmt.Errorf("listing %s: %w", k.ID, err)
		}
		left--
	}
	if left != 0 {
		return fmt.Errorf("%s has %d keys less in the listing than there are", h.name, left)
	}
	return nil
}

// What was revoked stays revoked, what was deleted stays away, and no older
// revision comes back, while the database is flattened, its value log collected
// and all of it opened again and again.
func TestCompactionAndCollection(t *testing.T) {
	t.Parallel()
	random := newRand(t)
	ctx := testContext(t)
	dir := t.TempDir()
	h := &herd{random: random, name: "owner"}
	rewritten := 0
	for range sized(4, 200) {
		withBusyStore(t, dir, func(db *badgerdb.DB, ks *keystore.Keystore) {
			h.ks = ks
			require.NoError(t, h.check(ctx), "after opening")
			for range 3 {
				for range 100 {
					require.NoError(t, h.step(ctx))
				}
				n, err := tidyUp(db)
				require.NoError(t, err)
				rewritten += n
				require.NoError(t, h.check(ctx))
			}
		})
	}
	t.Logf("%d keys, %d files of the value log were rewritten", len(h.keys), rewritten)
	assert.Positive(t, rewritten)
}

// The same while others write and look up at the same time.
func TestCompactionAndCollectionUnderLoad(t *testing.T) {
	t.Parallel()
	random := newRand(t)
	ctx := testContext(t)
	dir := t.TempDir()
	herds := make([]*herd, workers)
	for i := range herds {
		herds[i] = &herd{random: rand.New(rand.NewPCG(random.Uint64(), 0)), name: fmt.Sprint("owner-", i)}
	}
	rewritten := 0
	for range sized(3, 100) {
		withBusyStore(t, dir, func(db *badgerdb.DB, ks *keystore.Keystore) {
			for _, h := range herds {
				h.ks = ks
				require.NoError(t, h.check(ctx), "after opening")
			}
			rewritten += tidyUpWhile(t, db, func() {
				var writing sync.WaitGroup
				for _, h := range herds {
					writing.Go(func() { assert.NoError(t, h.work(ctx, 250)) })
				}
				writing.Wait()
			})
			for _, h := range herds {
				require.NoError(t, h.check(ctx))
			}
		})
	}
	t.Logf("%d files of the value log were rewritten", rewritten)
	assert.Positive(t, rewritten)
}

// work makes changes and now and then checks a key of those it changed.
func (h *herd) work(ctx context.Context, steps int) error {
	for range steps {
		if err := h.step(ctx); err != nil {
			return err
		}
		if err := h.keys[h.random.IntN(len(h.keys))].check(ctx, h.ks); err != nil {
			return err
		}
	}
	return nil
}

// tidyUpWhile flattens and collects over and over until fn has returned.
func tidyUpWhile(t *testing.T, db *badgerdb.DB, fn func()) (rewritten int) {
	t.Helper()
	var done atomic.Bool
	var tidying sync.WaitGroup
	tidying.Go(func() {
		for last := false; !last; {
			last = done.Load() // once more after fn
			if !assert.NoError(t, db.Flatten(2)) {
				return
			}
			// Badger reads db.mt.maxVersion while others write it (v4.9.6, value.go,
			// rewrite, and memtable.go, Put), which the race detector reports.
			if raceDetector && !last {
				continue
			}
			n, err := collect(db)
			rewritten += n
			if !assert.NoError(t, err) {
				return
			}
		}
	})
	fn()
	done.Store(true)
	tidying.Wait()
	return rewritten
}

// withBusyStore opens the database and the store in it for fn.
func withBusyStore(t *testing.T, dir string, fn func(*badgerdb.DB, *keystore.Keystore)) {
	t.Helper()
	db := openBusy(t, dir)
	defer closeStore(t, db)
	b, err := badger.New(db, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	touch := time.Millisecond
	if raceDetector { // nothing writes while the value log is collected, see tidyUpWhile
		touch = keystore.Never
	}
	ks, err := keystore.New(b, &keystore.Options{TouchInterval: touch, PurgeInterval: keystore.Never})
	require.NoError(t, err)
	defer func() { assert.NoError(t, ks.Close()) }()
	fn(db, ks)
}
