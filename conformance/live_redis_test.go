package conformance_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/redis"
)

// liveRedis opens stores in new namespaces. Nothing is left of one without
// records, counts and tallies, and no method of a backend forgets a tally that is
// never purged: so the stores note which there are.
func liveRedis(rawURL, run string) conformance.Opener {
	var mu sync.Mutex
	stores := make(map[string]*noted) // by name
	open := liveServer(rawURL, "namespace", run, func(ctx context.Context, storeURL, name string) error {
		mu.Lock()
		defer mu.Unlock()
		return stores[name].empty(ctx, storeURL)
	})
	return func(tb testing.TB, name string) backend.Backend {
		tb.Helper()
		b := open(tb, name).(*redis.Backend)
		mu.Lock()
		defer mu.Unlock()
		if stores[run+name] == nil {
			stores[run+name] = &noted{tallies: make(map[subjectDay]bool)}
		}
		return noting{b, stores[run+name]}
	}
}

// noted is which tallies were made in a store.
type noted struct {
	sync.Mutex
	tallies map[subjectDay]bool
}

type subjectDay struct {
	subject string
	day     time.Time
}

type noting struct {
	*redis.Backend
	noted *noted
}

// AddUsage notes the tallies first: what fails may have taken effect.
func (b noting) AddUsage(ctx context.Context, additions []backend.Addition) error {
	b.noted.Lock()
	for _, a := range additions {
		b.noted.tallies[subjectDay{a.Subject, a.Day}] = true
	}
	b.noted.Unlock()
	return b.Backend.AddUsage(ctx, additions)
}

// empty removes all that the store holds.
func (n *noted) empty(ctx context.Context, storeURL string) error {
	opened, err := backend.Open(ctx, storeURL, nil)
	if err != nil {
		return err
	}
	defer opened.Close()
	b := opened.(*redis.Backend)
	var due []backend.Addition
	for t := range n.tallies {
		due = append(due, backend.Addition{
			Subject: t.subject, Day: t.day, AddID: rand.Uint64(), Counts: map[string]int64{"x": 1}, PurgeAt: time.UnixMilli(0),
		})
	}
	end := time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC)
	return errors.Join(
		deleteAll(ctx, b),
		b.AddUsage(ctx, due),
		purgeAll(ctx, b.PurgeCounts, end),
		purgeAll(ctx, b.PurgeUsage, end),
	)
}

func deleteAll(ctx context.Context, b backend.Backend) error {
	for {
		page, err := b.List(ctx, backend.ListOptions{Limit: backend.MaxLimit})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, r := range page {
			if err := b.Delete(ctx, r.ID); err != nil {
				return err
			}
		}
	}
}

func purgeAll(ctx context.Context, purge func(ctx context.Context, now time.Time, limit int) (int, error), now time.Time) error {
	for {
		if n, err := purge(ctx, now, backend.MaxLimit); err != nil || n == 0 {
			return err
		}
	}
}
