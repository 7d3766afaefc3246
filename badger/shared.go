package badger

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/hub"
)

const (
	stripeCount  = 1024
	maxLateReads = 1024
)

// shared is what all handles on one namespace of one database have in common.
type shared struct {
	changes hub.Hub

	// How far the indexes by time have been worked off.
	purged, purgedCounts, purgedTallies purged

	// stripes are the locks of the ids: a writer holds the one of its id. They
	// keep writers of one id from Badger's conflicts, and bound the writes under
	// way. A stripe is held while its channel is full, so that waiting for one
	// can end with the context.
	stripes [stripeCount]chan struct{}
	seed    maphash.Seed

	// writing counts the commits that may be under way. A new transaction waits
	// for those, however slow the disk is.
	writing atomic.Int64
	// lateReads bounds the reads that wait in the background.
	lateReads chan struct{}

	loading    sync.Once
	loadErr    error
	unfinished atomic.Bool // a Restore began and has not succeeded
	restoring  sync.Mutex  // held by the Restore under way
}

type storeID struct {
	db        *badgerdb.DB
	namespace string
}

var stores struct {
	sync.Mutex
	open map[storeID]*store
}

type store struct {
	shared  shared
	handles int
}

// attach returns what the handles on a store share, for one more handle.
func attach(id storeID) *shared {
	stores.Lock()
	defer stores.Unlock()
	s := stores.open[id]
	if s == nil {
		s = &store{}
		s.shared.seed = maphash.MakeSeed()
		s.shared.lateReads = make(chan struct{}, maxLateReads)
		for i := range s.shared.stripes {
			s.shared.stripes[i] = make(chan struct{}, 1)
		}
		if stores.open == nil {
			stores.open = make(map[storeID]*store)
		}
		stores.open[id] = s
	}
	s.handles++
	return &s.shared
}

// detach ends the part of one handle.
func detach(id storeID) {
	stores.Lock()
	defer stores.Unlock()
	s := stores.open[id]
	if s.handles--; s.handles == 0 {
		delete(stores.open, id)
	}
}

// load notices a restore that a process before this one did not finish.
func (s *shared) load(db *badgerdb.DB, keys keyspace) error {
	s.loading.Do(func() {
		var found bool
		found, s.loadErr = view(db, func(txn *badgerdb.Txn) (bool, error) {
			_, err := txn.Get(keys.prefix(kindRestore))
			if errors.Is(err, badgerdb.ErrKeyNotFound) {
				return false, nil
			}
			return err == nil, err
		})
		if found {
			s.unfinished.Store(true)
		}
	})
	return s.loadErr
}

// lock takes the stripes of ids and returns how to release them. It gives up
// when ctx ends or the handle is being closed.
func (s *shared) lock(ctx context.Context, closing <-chan struct{}, ids ...string) (unlock func(), err error) {
	wanted := make([]int, len(ids))
	for i, id := range ids {
		wanted[i] = int(maphash.String(s.seed, id) % stripeCount)
	}
	slices.Sort(wanted) // one order for all, so that none wait for each other
	return s.lockStripes(ctx, closing, slices.Compact(wanted))
}

func (s *shared) lockStripes(ctx context.Context, closing <-chan struct{}, wanted []int) (unlock func(), err error) {
	held := 0
	unlock = func() {
		for _, i := range wanted[:held] {
			<-s.stripes[i]
		}
	}
	for _, i := range wanted {
		select {
		case s.stripes[i] <- struct{}{}:
			held++
		case <-ctx.Done():
			unlock()
			return nil, contextError(ctx)
		case <-closing:
			unlock()
			return nil, backend.ErrClosed
		}
	}
	if err := ctx.Err(); err != nil {
		unlock()
		return nil, contextError(ctx)
	}
	return unlock, nil
}

// lockAll takes every stripe, so that no write is under way.
func (s *shared) lockAll(closing <-chan struct{}) (unlock func(), err error) {
	all := make([]int, stripeCount)
	for i := range all {
		all[i] = i
	}
	return s.lockStripes(context.Background(), closing, all)
}
