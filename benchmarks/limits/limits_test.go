package limits_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"
	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore"
	"example.com/keystore/badger"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
	"example.com/keystore/internal/testserver"
)

// BenchmarkLimits compares a lookup of a key with two limits with one bare call that
// counts, at a thousand keys in turn and at one key that all callers use.
func BenchmarkLimits(b *testing.B) {
	for _, backend := range []struct {
		name string
		open func(b *testing.B) (s *stores.Store, bare func(b *testing.B, ids []string) func(i int) error)
	}{{"redis", openRedis}, {"badger", openBadger}, {"memory", openMemory}} {
		for _, count := range []int{keys, 1} {
			b.Run(fmt.Sprintf("backend=%s/keys=%d", backend.name, count), func(b *testing.B) {
				s, bare := backend.open(b)
				ids, lookup := limited(b, s, count, len(limits))
				run(b, s, bare(b, ids), lookup, nil)
			})
		}
	}
}

// countUp is the least script that counts and says how many there are now. It is
// called by its digest, as keystore's is.
var countUp = goredis.NewScript(`local count = redis.call('INCRBY', KEYS[1], ARGV[1])
return count`)

// openRedis compares with one call of countUp, by the same client and with the same
// deadline.
func openRedis(b *testing.B) (*stores.Store, func(*testing.B, []string) func(int) error) {
	client := stores.RedisClient(testserver.StartRedis(b, "appendonly no").Addr())
	return stores.OnRedis(b, client, 0), func(b *testing.B, ids []string) func(i int) error {
		must(b, countUp.Load(context.Background(), client).Err())
		names := make([]string, len(ids))
		for i, id := range ids {
			names[i] = "bare:" + id
		}
		return func(i int) error {
			ctx, cancel := context.WithTimeout(context.Background(), stores.Deadline)
			defer cancel()
			n, err := countUp.EvalSha(ctx, client, names[i%len(names):][:1], 1).Int64()
			if err == nil && n < 1 {
				err = fmt.Errorf("the script counted %d", n)
			}
			return err
		}
	}
}

// openBadger compares with one db.Update that reads a value and writes it: as many
// bytes as keystore's counts of a key have. Nothing is synced.
func openBadger(b *testing.B) (*stores.Store, func(*testing.B, []string) func(int) error) {
	options, err := badger.DatabaseOptions(b.TempDir(), &badger.Options{NoSync: true})
	must(b, err)
	db, err := badgerdb.Open(options)
	must(b, err)
	b.Cleanup(func() { must(b, db.Close()) })
	return stores.OnBadger(b, db, 0), func(b *testing.B, ids []string) func(i int) error {
		var value []byte
		must(b, db.View(func(txn *badgerdb.Txn) error {
			item, err := txn.Get([]byte("keystore/c" + ids[0]))
			if err == nil {
				value, err = item.ValueCopy(nil)
			}
			return err
		}))
		names := make([][]byte, len(ids))
		for i, id := range ids {
			names[i] = []byte("bare/c" + id)
			must(b, db.Update(func(txn *badgerdb.Txn) error { return txn.Set(names[i], value) }))
		}
		return func(i int) error {
			for {
				err := db.Update(func(txn *badgerdb.Txn) error {
					item, err := txn.Get(names[i%len(names)])
					if err != nil {
						return err
					}
					counts, err := item.ValueCopy(nil)
					if err != nil {
						return err
					}
					return txn.Set(names[i%len(names)], counts)
				})
				if !errors.Is(err, badgerdb.ErrConflict) { // or another caller wrote it meanwhile
					return err
				}
			}
		}
	}
}

// openMemory compares with a lookup of a key without limits.
func openMemory(b *testing.B) (*stores.Store, func(*testing.B, []string) func(int) error) {
	s := stores.Open(b, "memory", keys)
	return s, func(b *testing.B, _ []string) func(i int) error {
		ks := s.Keystore(keystore.Options{})
		return func(i int) error {
			_, err := ks.Lookup(context.Background(), s.Tokens[i%len(s.Tokens)], stores.Scope)
			return err
		}
	}
}

// BenchmarkUsage compares a lookup that is counted, of a key without limits that is
// in the cache, with one that is not: Options.UsageInterval is Never there.
func BenchmarkUsage(b *testing.B) {
	s := stores.Open(b, "memory", keys)
	lookup := func(o keystore.Options) func(i int) error {
		ks := s.Keystore(o)
		op := func(i int) error {
			_, err := ks.Lookup(context.Background(), s.Tokens[i%len(s.Tokens)], stores.Scope)
			return err
		}
		for i := range s.Tokens {
			must(b, op(i))
		}
		return op
	}
	run(b, s, lookup(keystore.Options{UsageInterval: keystore.Never}), lookup(keystore.Options{}),
		func(b *testing.B, r turns.Result, callers int) { b.ReportMetric(r.Over, "over-raw-ns") })
}
