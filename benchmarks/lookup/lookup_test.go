package lookup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/keystore"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
)

// keys is how many a store has in which all cases are measured.
const keys = 10_000

// hot is how many keys of a store are looked up where they shall be in the cache:
// few enough that reading them again every CacheTTL is a small part of it.
const hot = 1000

var callers = []int{1, 8, 128}

// A workload is a kind of lookup.
type workload struct {
	name    string
	options keystore.Options
	tokens  func(valid []string) []string // what is looked up, one after another
	scope   string
	reason  keystore.Reason // why it is refused; "": it is not
	raw     rawRead
	cached  float64 // the share of lookups that the cache answers: at least, or if negative at most its amount
}

// rawRead says what the bare driver reads beside a lookup.
type rawRead int

const (
	nothing rawRead = iota // a lookup asks the store for nothing either
	record                 // of the same key
	absent                 // of a key that does not exist
)

func all(valid []string) []string   { return valid }
func fewOf(valid []string) []string { return valid[:min(hot, len(valid))] }

// many is more than are remembered as unknown.
const many = 1 << 17

func anyOf(valid []string) []string {
	texts := make([]string, many)
	for i := range texts {
		texts[i] = valid[rand.IntN(len(valid))]
	}
	return texts
}

func each(f func(string) string) func([]string) []string {
	return func(valid []string) []string {
		texts := make([]string, max(len(valid), many))
		for i := range texts {
			texts[i] = f(valid[i%len(valid)])
		}
		return texts
	}
}

// uncached reads the store each time.
var uncached = workload{name: "hit-uncached", options: keystore.Options{CacheSize: -1}, tokens: all, scope: stores.Scope, raw: record}

var workloads = []workload{
	// With default options, at keys that are in the cache.
	{name: "hit-cached", tokens: fewOf, scope: stores.Scope, raw: record, cached: 0.9},
	uncached,
	// With a cache for a tenth of the keys, at any of them: nine of ten are read, and
	// each of these goes into the cache in place of another.
	{name: "miss", options: keystore.Options{CacheSize: keys / 10}, tokens: anyOf, scope: stores.Scope, raw: record, cached: -0.2},
	// With default options: another key each time, which is not there. (Of those in
	// memory some come again before they are forgotten.)
	{name: "unknown", tokens: each(stores.Unknown), scope: stores.Scope, reason: keystore.ReasonUnknownKey, raw: absent, cached: -0.2},
	// Another key each time, which is there, with a secret that is not its. With a
	// cache it is a read all the same, but no more than 20 a second for each key.
	{name: "wrong-secret", options: keystore.Options{CacheSize: -1}, tokens: each(stores.WrongSecret), scope: stores.Scope, reason: keystore.ReasonWrongSecret, raw: record},
	// As hit-cached, with a scope that the key does not have.
	{name: "missing-scope", tokens: fewOf, scope: stores.OtherScope, reason: keystore.ReasonMissingScope, raw: record, cached: 0.9},
}

// malformed is a text that is a token except for its checksum. It costs the store
// nothing, whichever it is.
var malformed = workload{name: "malformed", tokens: func(valid []string) []string {
	texts := make([]string, len(valid))
	for i := range texts {
		texts[i] = stores.Malformed(valid[i])
	}
	return texts
}, scope: stores.Scope, reason: keystore.ReasonMalformed, raw: nothing}

// BenchmarkLookup compares Lookup with reading all bytes of the same record by the
// bare driver: a map behind a lock (memory), Txn.Get and Value (badger), GET (redis)
// and FindOne without decoding (mongo). Against a server both have the same deadline.
//
// The server of mongo runs in the same process and answers at once, and says
// nothing of the times of MongoDB; over-raw-us is what keystore adds to them.
func BenchmarkLookup(b *testing.B) {
	for _, kind := range stores.Kinds {
		b.Run("backend="+kind, func(b *testing.B) {
			for _, size := range sizes(kind) {
				s := stores.Open(b, kind, size)
				if size != keys {
					uncached.run(b, s, size, []int{1, 128})
				} else {
					for _, w := range workloads {
						w.run(b, s, size, callers)
					}
				}
				if size == keys && kind == "memory" {
					malformed.run(b, s, size, callers)
				}
				s.Close()
			}
		})
	}
}

// sizes are the numbers of keys at which a backend is measured.
func sizes(kind string) []int {
	switch kind {
	case "memory", "badger":
		sizes := []int{1_000, keys, 100_000}
		if stores.Dir != "" {
			sizes = append(sizes, 1_000_000)
			if kind == "badger" {
				sizes = append(sizes, 10_000_000)
			}
		}
		return sizes
	case "redis":
		return []int{keys, 100_000}
	}
	return []int{keys}
}

// run measures a workload with some numbers of callers.
func (w workload) run(b *testing.B, s *stores.Store, size int, callers []int) {
	b.Helper()
	tokens := w.tokens(s.Tokens)
	ids := stores.IDs(tokens)
	stores.Shuffle(ids) // or what one side has read would be at hand for the other
	ks := s.Keystore(w.options)
	pair := turns.Pair{Ours: turns.Side{Op: w.lookup(ks, tokens)}}
	var err error
	pair.Raw.Op, err = w.read(s, ids)
	if err != nil {
		b.Fatal(err)
	}
	if w.cached > 0 {
		for i := range tokens {
			if err := pair.Ours.Op(i); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, pair.Callers = range callers {
		b.Run(fmt.Sprintf("case=%s/keys=%d/callers=%d", w.name, size, pair.Callers), func(b *testing.B) {
			s.Plan(&pair, false)
			before := ks.Stats()
			r := turns.Run(b, &pair)
			w.checkCache(b, before, ks.Stats())
			if s.Kind == "mongo" {
				b.ReportMetric(r.Over/1000, "over-raw-us")
			}
		})
	}
}

// lookup is a lookup with the outcome that the workload is about.
func (w workload) lookup(ks *keystore.Keystore, tokens []string) func(i int) error {
	ctx := context.Background()
	return func(i int) error {
		_, err := ks.Lookup(ctx, tokens[i%len(tokens)], w.scope)
		if err == nil && w.reason == "" {
			return nil
		}
		if refused, ok := err.(*keystore.LookupError); ok && refused.Reason == w.reason { //nolint:errorlint // every error of Lookup is one, and this is quick
			return nil
		}
		return fmt.Errorf("a lookup ended with %v where the reason %q was due", err, w.reason)
	}
}

// read is the bare operation beside it.
func (w workload) read(s *stores.Store, ids []string) (func(i int) error, error) {
	if w.raw == nothing {
		return nil, nil
	}
	get, err := s.Bare.Reader(ids)
	if err != nil {
		return nil, err
	}
	return func(i int) error {
		n, err := get(i % len(ids))
		if err == nil && (n > 0) != (w.raw == record) {
			err = fmt.Errorf("a bare read gave %d bytes", n)
		}
		return err
	}, nil
}

// checkCache makes sure that the cache did what the name of the workload says.
func (w workload) checkCache(b *testing.B, before, after keystore.Stats) {
	b.Helper()
	hits, misses := float64(after.Hits-before.Hits), float64(after.Misses-before.Misses)
	share := hits / max(1, hits+misses)
	if (w.cached > 0 && share < w.cached) || (w.cached < 0 && share > -w.cached) || (w.cached == 0 && hits > 0) {
		b.Fatalf("the cache answered %.0f of %.0f lookups", hits, hits+misses)
	}
}
