package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"example.com/keystore"
	"example.com/keystore/badger"
)

const (
	shortLife  = time.Hour           // of the keys that become due
	longLife   = 90 * 24 * time.Hour // of the others
	maxSamples = 1_000_000           // tokens that are kept for measure
	owners     = 1000
	oneOwner   = "one-owner"
)

// fill generates the keys and keeps a sample of the tokens.
func fill(ctx context.Context, p plan) error {
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return err
	}
	s, err := open(p.folder(), badger.Options{NoSync: true}, 0)
	if err != nil {
		return err
	}
	start := time.Now()
	samples, err := s.generate(ctx, p)
	if err != nil {
		return errors.Join(err, s.close())
	}
	rate(fmt.Sprintf("Generate, not synced, %d callers", callers), p.keys, time.Since(start))
	if err := s.db.Flatten(2); err != nil { // so that reads meet tables, not the log
		return errors.Join(err, s.close())
	}
	if err := s.close(); err != nil {
		return err
	}
	return writeLines(p.samples(), samples)
}

// generate makes the keys: of every ten one is short-lived, and of every hundred
// one belongs to the one owner.
func (s *store) generate(ctx context.Context, p plan) (samples []string, err error) {
	every := max(1, p.keys/maxSamples)
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for i := w; i < p.keys; i += callers {
				token, err := s.one(ctx, i)
				mu.Lock()
				if err != nil {
					failed = err
				} else if lives(i) && i/100%every == 0 {
					samples = append(samples, token.Reveal())
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return samples, failed
}

// lives reports whether measure can look the key up: it is neither short-lived
// nor the one owner's.
func lives(i int) bool { return i%10 != 0 && i%100 != 1 }

func (s *store) one(ctx context.Context, i int) (keystore.Token, error) {
	params := keystore.KeyParams{
		Owner: fmt.Sprintf("customer-%d", i%owners), Name: "a key of some program",
		Scopes: []string{"orders:*", "invoices:read"}, TTL: longLife,
	}
	if i%10 == 0 {
		params.TTL = shortLife
	}
	if i%100 == 1 {
		params.Owner = oneOwner
	}
	token, _, err := s.Generate(ctx, params)
	return token, err
}

func writeLines(path string, lines []string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	return errors.Join(w.Flush(), f.Close())
}
