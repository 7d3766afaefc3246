// Package stores opens a filled store of each backend for the benchmarks, and has
// what a program would do with the driver's library alone: the bare operations that
// keystore is compared with.
package stores

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/benchmarks/internal/turns"
)

// Store is a backend with keys in it.
type Store struct {
	Backend backend.Backend
	Bare    Bare
	Kind    string   // its name in benchmarks
	Tokens  []string // of the keys, at most MaxTokens of them, in no order
	Far     bool     // a call crosses a network, if only that of this machine

	tb        testing.TB
	closeOnce sync.Once
	keystores []*keystore.Keystore
	onClose   []func() error // what closes the rest, the last one first
}

// Bare is what a program would do with the driver's library alone. It is safe for
// concurrent use. Where a server is asked, each operation has a deadline of
// [Deadline], as each of keystore's has.
//
// Except for Reader, it works on records of its own beside those of keystore, under
// names of its own. A record is a value and whatever entry is needed to list an
// owner's records in order of their ids; the rest that keystore keeps, to list all
// records and to find those to purge, and the message that tells other processes, is
// no part of it, nor is any check that nobody else changes the same record.
type Bare interface {
	// Reader returns a function that reads keystore's record of ids[i], all its
	// bytes, and returns how many there are: 0 if there is no such record.
	Reader(ids []string) (func(i int) (int, error), error)
	// Put makes a record; there is none of this id.
	Put(id, owner string, value []byte) error
	// Replace reads the value of a record and writes another one.
	Replace(id, owner string, value []byte) error
	// Page reads an owner's first records, at most limit, and returns how many.
	Page(owner string, limit int) (int, error)
	// Delete removes records of an owner.
	Delete(owner string, ids []string) error
}

// Deadline is that of a bare operation and of keystore's: longer than the default
// of OpTimeout, which makes no difference to the time that a call takes, so that no
// call fails on a machine that is busy.
const Deadline = 20 * time.Second

// bounded is the context of a bare operation.
func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), Deadline)
}

// Kinds are the names of all kinds of stores in benchmarks.
var Kinds = []string{"memory", "badger", "redis", "redis-cluster", "mongo"}

// Open opens a store with that many keys, and skips the benchmark where the machine
// lacks the server for it.
func Open(tb testing.TB, kind string, keys int) *Store {
	tb.Helper()
	open, known := map[string]func(testing.TB, int) *Store{
		"memory": openMemory, "badger": openBadger, "redis": openRedis, "redis-cluster": openCluster, "mongo": openMongo,
	}[kind]
	if !known {
		tb.Fatalf("stores: there is no %q", kind)
	}
	s := open(tb, keys)
	s.Kind = kind
	return s
}

// Plan sets how long the turns of a pair are: long enough that starting and ending
// one are a small part of it, which they are not soon where many callers wait for a
// server or, which waits says, for a disk.
func (s *Store) Plan(p *turns.Pair, waits bool) {
	switch {
	case !waits && !s.Far:
		p.Turn, p.Block = 25*time.Millisecond, 64
	case p.Callers <= 8:
		p.Turn = 50 * time.Millisecond
	default:
		p.Turn = 150 * time.Millisecond
	}
}

// Keystore makes a keystore on the store, with a deadline of [Deadline]. It notes when keys were last used and
// counts lookups, unless the options say that it does not, as it
// does by default, but writes that once a day, and does not purge by itself: what
// happens once in a while is not part of what happens at each call.
func (s *Store) Keystore(o keystore.Options) *keystore.Keystore {
	s.tb.Helper()
	o.TouchInterval, o.PurgeInterval, o.OpTimeout = 24*time.Hour, keystore.Never, Deadline
	if o.UsageInterval != keystore.Never {
		o.UsageInterval = 24 * time.Hour
	}
	ks, err := keystore.New(s.Backend, &o)
	s.must(err)
	s.keystores = append(s.keystores, ks)
	s.must(watching(ks))
	return ks
}

// watching waits until the keystore hears of changes, if it has a cache: it drops
// what that holds as it begins to.
func watching(ks *keystore.Keystore) error {
	for deadline := time.Now().Add(Deadline); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if state := ks.Stats().Watch; state == keystore.WatchActive || state == keystore.WatchOff {
			return nil
		}
	}
	return errors.New("stores: the keystore does not watch yet")
}

// closing makes Close close the store too, by f, after what was opened later.
func (s *Store) closing(f func() error) { s.onClose = append(s.onClose, f) }

// Close closes the store; at the latest the end of its test does.
func (s *Store) Close() {
	s.tb.Helper()
	s.closeOnce.Do(func() {
		s.must(s.Backend.Close())
		for _, ks := range s.keystores {
			_ = ks.Close() // it cannot write any more what it noted, and need not
		}
		for _, f := range slices.Backward(s.onClose) {
			s.must(f())
		}
	})
}

func (s *Store) must(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatal(err)
	}
}
