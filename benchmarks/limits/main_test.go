// Package limits_test measures what limits and usage add to a lookup of a key that is
// in the cache, beside the least that counts at all, and beside what one would take
// instead, in the same run and on the same server:
//
//	go test -bench . ./limits
//
// A lookup of a key with limits spends of them by one call of the store, also where
// the key is in the cache. So the bare operation beside it is one call that counts in
// one place: it knows one window and not several, never ends one, and counts twice
// when its reply is lost.
package limits_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys is how many have limits. All are in the cache.
const keys = 1000

// most is so much that no limit is ever spent.
const most = 1_000_000_000_000

// limits are a long one, and a short one whose windows end every second.
var limits = []keystore.Limit{
	{Name: "day", Requests: most, Window: 24 * time.Hour},
	{Name: "burst", Requests: most, Window: time.Second},
}

var callers = []int{1, 64}

// limited makes keys that have the first n limits, and returns a lookup of one after
// the other, which fails if they were not counted. All are in the cache then, and
// have been spent from as often as a store remembers spends of a key.
func limited(b *testing.B, s *stores.Store, count, n int) (ids []string, lookup func(i int) error) {
	b.Helper()
	ks := s.Keystore(keystore.Options{CacheTTL: time.Hour}) // nothing is read again
	tokens := make([]string, count)
	must(b, stores.AtOnce(count, func(i int) error {
		p := stores.Params(stores.Owner(i, count))
		p.Limits = limits[:n]
		token, _, err := ks.Generate(context.Background(), p)
		tokens[i] = token.Reveal()
		return err
	}))
	lookup = func(i int) error {
		r, err := ks.LookupWith(context.Background(), tokens[i%count], keystore.LookupParams{Scopes: []string{stores.Scope}})
		if err == nil && (len(r.Limits) != n || r.LimitsUnchecked) {
			err = fmt.Errorf("a lookup that counted in %d windows", len(r.Limits))
		}
		return err
	}
	must(b, stores.AtOnce(count*(1+backend.KeptSpends), lookup))
	before := ks.Stats()
	b.Cleanup(func() {
		if after := ks.Stats(); after.Hits-before.Hits < 9*(after.Misses-before.Misses) {
			b.Fatal("the lookups were not answered from the cache")
		}
	})
	return stores.IDs(tokens), lookup
}

// run lets a lookup and what it is compared with take turns, for each number of
// callers.
func run(b *testing.B, s *stores.Store, raw, ours func(i int) error, report func(b *testing.B, r turns.Result, callers int)) {
	b.Helper()
	pair := turns.Pair{Raw: turns.Side{Op: raw}, Ours: turns.Side{Op: ours}}
	for _, pair.Callers = range callers {
		b.Run(fmt.Sprintf("callers=%d", pair.Callers), func(b *testing.B) {
			s.Plan(&pair, false)
			r := turns.Run(b, &pair)
			if report != nil {
				report(b, r, pair.Callers)
			}
		})
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
