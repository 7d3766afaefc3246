package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore"
	"example.com/keystore/badger"
)

func measure(ctx context.Context, p plan) error {
	tokens, err := readLines(p.samples())
	if err != nil {
		return err
	}
	rand.Shuffle(len(tokens), func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
	room("before opening", p.folder())
	start := time.Now()
	s, err := open(p.folder(), badger.Options{}, 0)
	if err != nil {
		return err
	}
	rate("open", 1, time.Since(start))
	room("open", p.folder())
	for _, step := range []func(context.Context, plan, []string) error{s.lookups, s.listings, s.generateSynced, s.purge, s.revokeAll} {
		if err := step(ctx, p, tokens); err != nil {
			return errors.Join(err, s.close())
		}
		room("now", p.folder())
	}
	if err := s.close(); err != nil {
		return err
	}
	room("closed", p.folder())
	return nil
}

// rounds of lookups, of which the median counts.
const rounds = 11

// lookups compares Lookup with Txn.Get and Value of the bytes that it reads, in
// turns of a few hundred, each time at other keys.
func (s *store) lookups(ctx context.Context, p plan, tokens []string) error {
	const turn, turns = 256, 256
	var ratios, raws, ours []float64
	next := 0
	for range rounds {
		var rawTime, ourTime time.Duration
		for range turns {
			start := time.Now()
			for range turn {
				if err := s.rawGet(tokens[next%len(tokens)]); err != nil {
					return err
				}
				next++
			}
			middle := time.Now()
			for range turn {
				if _, err := s.Lookup(ctx, tokens[next%len(tokens)], "orders:read"); err != nil {
					return err
				}
				next++
			}
			rawTime += middle.Sub(start)
			ourTime += time.Since(middle)
		}
		ratios = append(ratios, float64(ourTime)/float64(rawTime))
		raws = append(raws, rawTime.Seconds()*1e6/(turn*turns))
		ours = append(ours, ourTime.Seconds()*1e6/(turn*turns))
	}
	for _, v := range [][]float64{ratios, raws, ours} {
		slices.Sort(v)
	}
	m := rounds / 2
	fmt.Printf("lookup at %d keys: raw %.2f us, Lookup %.2f us, ratio %.2f (%.2f to %.2f in %d rounds of %d)\n",
		p.keys, raws[m], ours[m], ratios[m], ratios[0], ratios[rounds-1], rounds, turn*turns)
	return nil
}

func (s *store) rawGet(token string) error {
	id := token[len(token)-54 : len(token)-38]
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	item, err := txn.Get([]byte("keystore/r" + id))
	if err != nil {
		return err
	}
	return item.Value(func(v []byte) error {
		if len(v) == 0 {
			return errors.New("an empty record")
		}
		return nil
	})
}

// listings walks over all keys, and over pages.
func (s *store) listings(ctx context.Context, p plan, _ []string) error {
	start, n := time.Now(), 0
	for _, err := range s.All(ctx, "") {
		if err != nil {
			return err
		}
		n++
	}
	if n != p.keys {
		return fmt.Errorf("the listing of all yielded %d keys, not %d", n, p.keys)
	}
	rate("All", n, time.Since(start))

	for _, owner := range []string{"", oneOwner} {
		start, n, pages := time.Now(), 0, 0
		for after := ""; pages == 0 || after != ""; pages++ {
			keys, next, err := s.List(ctx, keystore.ListParams{Owner: owner, After: after, Limit: 200})
			if err != nil {
				return err
			}
			n += len(keys)
			after = next
			if pages == 500 {
				break
			}
		}
		rate(fmt.Sprintf("List, %d pages of 200, owner %q", pages, owner), n, time.Since(start))
	}
	return nil
}

// generateSynced makes a hundredth more keys, each synced before it is returned.
func (s *store) generateSynced(ctx context.Context, p plan, _ []string) error {
	for _, callers := range []int{1, callers} {
		n := min(p.keys/100, 20_000)
		var failed atomic.Pointer[error]
		start := time.Now()
		var wg sync.WaitGroup
		for w := range callers {
			wg.Go(func() {
				for i := w; i < n && failed.Load() == nil; i += callers {
					if _, err := s.one(ctx, 2); err != nil {
						failed.Store(&err)
					}
				}
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		rate(fmt.Sprintf("Generate, synced, %d callers", callers), n, time.Since(start))
	}
	return nil
}

func (s *store) revokeAll(ctx context.Context, p plan, _ []string) error {
	start := time.Now()
	n, err := s.RevokeAll(ctx, oneOwner, "scale")
	if err != nil {
		return err
	}
	rate("RevokeAll, synced", n, time.Since(start))
	if n != p.owned() {
		return fmt.Errorf("revoked %d keys, not %d", n, p.owned())
	}
	return nil
}

// purge deletes the short-lived keys, by a clock that is so far ahead that they
// are due and nothing else is.
func (s *store) purge(ctx context.Context, p plan, _ []string) error {
	const retention = 30 * 24 * time.Hour // keystore's default
	future, err := s.at(retention + shortLife)
	if err != nil {
		return err
	}
	defer future.Close()
	start := time.Now()
	n, err := future.Purge(ctx)
	if err != nil {
		return err
	}
	rate("Purge, synced", n, time.Since(start))
	if n != p.due() {
		return fmt.Errorf("purge deleted %d keys, not %d", n, p.due())
	}
	return nil
}

func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	for in := bufio.NewScanner(f); in.Scan(); {
		lines = append(lines, in.Text())
	}
	if len(lines) == 0 {
		return nil, errors.New("the sample of tokens is empty")
	}
	return lines, nil
}
