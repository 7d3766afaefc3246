package manage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"example.com/keystore"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
)

// keys is how many a store has at first, of ten owners.
const keys = 1000

var ctx = context.Background()

// bench is a store to be changed, without a cache, which would only have to forget
// what is changed.
type bench struct {
	*stores.Store
	ks    *keystore.Keystore
	value []byte // as long as keystore's own bytes of a record
	fresh atomic.Int64
}

// onEach runs a benchmark on every backend.
func onEach(b *testing.B, run func(b *testing.B, s *bench)) {
	b.Helper()
	for _, kind := range stores.Kinds {
		b.Run("backend="+kind, func(b *testing.B) {
			s := &bench{Store: stores.Open(b, kind, keys)}
			s.ks = s.Keystore(keystore.Options{CacheSize: -1})
			s.value = s.data(b, stores.ID(s.Tokens[0]))
			run(b, s)
			s.Close()
		})
	}
}

// data is what the backend was given to store as the key.
func (s *bench) data(b *testing.B, id string) []byte {
	b.Helper()
	r, err := s.Backend.Get(ctx, id)
	if err != nil {
		b.Fatal(err)
	}
	return r.Data
}

// compare runs the pair with some numbers of callers.
func (s *bench) compare(b *testing.B, p *turns.Pair, callers ...int) {
	b.Helper()
	for _, p.Callers = range callers {
		b.Run(fmt.Sprintf("callers=%d", p.Callers), func(b *testing.B) {
			s.Plan(p, s.Kind == "badger") // which waits for the disk
			p.Block = 1                   // so that no two callers work on the same key
			turns.Run(b, p)
		})
	}
}

// newID is an id that the bare operations have not used yet. Like keystore's, ids
// are in the order of their making.
func (s *bench) newID() string { return fmt.Sprintf("%016d", s.fresh.Add(1)) }

// putMany makes n records by the bare driver, and returns their ids.
func (s *bench) putMany(b *testing.B, owner func(i int) string, n int) []string {
	b.Helper()
	ids := make([]string, n)
	err := stores.AtOnce(n, func(i int) error {
		ids[i] = s.newID()
		return s.Bare.Put(ids[i], owner(i), s.value)
	})
	if err != nil {
		b.Fatal(err)
	}
	return ids
}

// generateMany makes n keys, and returns their ids.
func generateMany(ks *keystore.Keystore, n int, params func(i int) keystore.KeyParams) ([]string, error) {
	ids := make([]string, n)
	return ids, stores.AtOnce(n, func(i int) error {
		_, key, err := ks.Generate(ctx, params(i))
		ids[i] = key.ID
		return err
	})
}

func owner(i int) string { return stores.Owner(i, keys) }

// BenchmarkGenerate compares Generate with putting a value of the same length and an
// entry for listings by owner: one synced transaction (badger), SET and ZADD in one
// round trip (redis), an upsert (mongo), or a map (memory). Generate checks besides
// that the id is new, makes entries for purging and for listing all keys, and tells
// other processes.
func BenchmarkGenerate(b *testing.B) {
	onEach(b, func(b *testing.B, s *bench) {
		s.compare(b, &turns.Pair{
			Raw: turns.Side{Op: func(i int) error { return s.Bare.Put(s.newID(), owner(i), s.value) }},
			Ours: turns.Side{Op: func(i int) error {
				_, _, err := s.ks.Generate(ctx, stores.Params(owner(i)))
				return err
			}},
		}, 1, 8, 128)
	})
}

// BenchmarkRotate compares Rotate, without grace, with reading a value and writing
// another one of the same length: one synced transaction (badger), GET and SET
// (redis), FindOne and UpdateOne (mongo). Rotate besides lets nobody else's change
// of the same key be lost, and tells other processes. Its record has grown by what
// it remembers of five older secrets and 32 changes, as that of a key has that is
// rotated often.
func BenchmarkRotate(b *testing.B) {
	onEach(b, func(b *testing.B, s *bench) {
		const rotated = 256 // of which no two callers have the same
		ids := stores.IDs(s.Tokens[:rotated])
		rotate := func(i int) error {
			_, _, err := s.ks.Rotate(ctx, ids[i%rotated], 0, nil)
			return err
		}
		const changes = 32
		if err := stores.AtOnce(changes*rotated, rotate); err != nil {
			b.Fatal(err)
		}
		s.value = s.data(b, ids[0])
		bare := s.putMany(b, owner, rotated)
		s.compare(b, &turns.Pair{
			Raw:  turns.Side{Op: func(i int) error { return s.Bare.Replace(bare[i%rotated], owner(i%rotated), s.value) }},
			Ours: turns.Side{Op: rotate},
		}, 1, 8, 128)
	})
}

// BenchmarkRevoke compares Revoke of a key that has never been changed with what
// Rotate is compared with. A key can be revoked once: those of a turn are generated
// before it.
func BenchmarkRevoke(b *testing.B) {
	onEach(b, func(b *testing.B, s *bench) {
		const perTurn = 2000
		bare := s.putMany(b, owner, keys)
		var ids []string
		var taken atomic.Int64
		s.compare(b, &turns.Pair{
			Raw: turns.Side{Op: func(i int) error { return s.Bare.Replace(bare[i%keys], owner(i%keys), s.value) }},
			Ours: turns.Side{
				Prepare: func() error {
					ids = ids[min(taken.Swap(0), int64(len(ids))):]
					fresh, err := generateMany(s.ks, perTurn-len(ids), func(i int) keystore.KeyParams { return stores.Params(owner(i)) })
					ids = append(ids, fresh...)
					return err
				},
				Op: func(int) error {
					n := taken.Add(1)
					if n > int64(len(ids)) {
						return turns.ErrUsedUp
					}
					key, err := s.ks.Revoke(ctx, ids[n-1], "leaked")
					if err == nil && key.RevokedAt.IsZero() {
						err = fmt.Errorf("key %s is not revoked", key.ID)
					}
					return err
				},
			},
		}, 1, 8, 128)
	})
}

// BenchmarkList compares List of 50 of an owner's 100 keys with reading as many
// values of the same length by the entries of their owner: a transaction that
// iterates over the entries and gets each value (badger), ZRANGEBYLEX and MGET
// (redis), Find (mongo). List decodes what it reads. An operation is a page.
func BenchmarkList(b *testing.B) {
	onEach(b, func(b *testing.B, s *bench) {
		const page = 50
		full := func(n int, err error) error {
			if err == nil && n != page {
				err = fmt.Errorf("a page had %d of %d", n, page)
			}
			return err
		}
		s.putMany(b, owner, keys)
		s.compare(b, &turns.Pair{
			Raw: turns.Side{Op: func(i int) error { return full(s.Bare.Page(owner(i), page)) }},
			Ours: turns.Side{Op: func(i int) error {
				found, _, err := s.ks.List(ctx, keystore.ListParams{Owner: owner(i), Limit: page})
				return full(len(found), err)
			}},
		}, 1, 8, 128)
	})
}

// BenchmarkPurge compares Purge of 500 keys that are due, of any owner, beside others
// that are not, with deleting 500 values of an owner whose names are known, with their
// entries: one synced transaction (badger), DEL and ZREM in one round trip (redis),
// DeleteMany (mongo). Purge finds out which are due, and tells other processes. An
// operation is a key.
func BenchmarkPurge(b *testing.B) {
	onEach(b, func(b *testing.B, s *bench) {
		const batch = 500
		retention := time.Hour
		early := s.Keystore(keystore.Options{CacheSize: -1, Retention: retention})
		late := s.Keystore(keystore.Options{CacheSize: -1, Retention: retention, Now: func() time.Time { return time.Now().Add(3 * retention) }})
		var due []string
		s.compare(b, &turns.Pair{
			Raw: turns.Side{
				Each: batch,
				Prepare: func() error {
					due = s.putMany(b, func(int) string { return owner(0) }, batch)
					return nil
				},
				Op: func(int) error {
					if due == nil {
						return turns.ErrUsedUp
					}
					ids := due
					due = nil
					return s.Bare.Delete(owner(0), ids)
				},
			},
			Ours: turns.Side{
				Each: batch,
				Prepare: func() error {
					var err error
					due, err = generateMany(early, batch, func(i int) keystore.KeyParams {
						p := stores.Params(owner(rand.IntN(keys)))
						p.TTL = retention
						return p
					})
					return err
				},
				Op: func(int) error {
					if due == nil {
						return turns.ErrUsedUp
					}
					due = nil
					n, err := late.Purge(ctx)
					if err == nil && n != batch {
						err = fmt.Errorf("%d of %d keys were purged", n, batch)
					}
					return err
				},
			},
		}, 1)
	})
}
