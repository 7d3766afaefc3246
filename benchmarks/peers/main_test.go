// Package peers_test compares a lookup with what a user would take instead, in the
// same run and where there is a server on the same one:
//
//	go test -bench . ./peers
//
// The metrics are named as in the other packages: raw-ns/op is the peer's time per
// operation (wall time over all callers), ratio is that of a lookup to it, and speedup
// is the reverse, how many lookups are made while the peer does one. cache=off is a
// keystore without cache (CacheSize -1), which reads the store each time; cache=on is
// one with default options, at keys that are in its cache.
//
// None of the peers does the same job in full; each says what it does and does not.
package peers_test

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"example.com/keystore"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
)

func TestMain(m *testing.M) {
	// Two peers begin what they cannot be made to end.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"),
		goleak.IgnoreTopFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup"),
	)
}

// keys is how many keys the store has, and sessions or tokens the peer. All are in
// the cache where there is one.
const keys = 1000

var ctx = context.Background()

// compare runs lookups without and with a cache beside the peer's operation.
func compare(b *testing.B, s *stores.Store, peer string, op func(i int) error, callers ...int) {
	b.Helper()
	for _, cache := range []struct {
		name    string
		options keystore.Options
	}{{"off", keystore.Options{CacheSize: -1}}, {"on", keystore.Options{}}} {
		ks := s.Keystore(cache.options)
		lookup := func(i int) error {
			_, err := ks.Lookup(ctx, s.Tokens[i%len(s.Tokens)], stores.Scope)
			return err
		}
		for i := range s.Tokens {
			if err := lookup(i); err != nil {
				b.Fatal(err)
			}
		}
		pair := turns.Pair{Raw: turns.Side{Op: op}, Ours: turns.Side{Op: lookup}}
		for _, pair.Callers = range callers {
			b.Run(fmt.Sprintf("%s/cache=%s/callers=%d", peer, cache.name, pair.Callers), func(b *testing.B) {
				s.Plan(&pair, false)
				b.ReportMetric(1/turns.Run(b, &pair).Ratio, "speedup")
			})
		}
	}
}
