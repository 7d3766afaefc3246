package drivertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// Cache keeps what it has read of some records, as a program does, and reads again
// what Watch tells it to. However changes are missed, it must come to hold what is
// stored.
type Cache struct {
	t    testing.TB
	b    backend.Backend
	ids  []string
	wake chan struct{} // holds one token while there may be something to read

	mu    sync.Mutex
	stale map[string]bool
	held  map[string]string // data; absent: no record
	told  map[string]int    // how often Watch sent what
}

// StartCache fills a cache of the records ids and keeps it until the test ends.
func StartCache(t testing.TB, b backend.Backend, ids ...string) *Cache {
	t.Helper()
	c := &Cache{
		t: t, b: b, ids: ids, wake: make(chan struct{}, 1),
		stale: make(map[string]bool), held: make(map[string]string), told: make(map[string]int),
	}
	ctx, cancel := context.WithCancel(context.Background())
	changes, err := b.(backend.Watcher).Watch(ctx)
	if err != nil {
		cancel()
		require.NoError(t, err)
	}
	c.invalidate("")
	var wait sync.WaitGroup
	wait.Go(func() {
		for id := range changes {
			c.invalidate(id)
		}
	})
	wait.Go(func() { c.fill(ctx) })
	t.Cleanup(func() {
		cancel()
		wait.Wait()
	})
	return c
}

func (c *Cache) invalidate(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told[id]++
	for _, known := range c.ids {
		if id == "" || id == known {
			c.stale[known] = true
		}
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// fill reads what is stale, again and again where that fails.
func (c *Cache) fill(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
		for _, id := range c.ids {
			c.read(ctx, id)
		}
	}
}

func (c *Cache) read(ctx context.Context, id string) {
	c.mu.Lock()
	stale := c.stale[id]
	c.stale[id] = false // before it is read: it may become stale meanwhile
	c.mu.Unlock()
	if !stale {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := c.b.Get(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.held[id] = string(r.Data)
	case errors.Is(err, backend.ErrNotFound):
		delete(c.held, id)
	default:
		c.stale[id] = true
	}
}

// Await waits until the cache holds what is stored, as another handle has it.
func (c *Cache) Await(sound backend.Backend) {
	c.t.Helper()
	problem := c.compare(sound)
	for deadline := time.Now().Add(patience); problem != nil && time.Now().Before(deadline); problem = c.compare(sound) {
		time.Sleep(10 * time.Millisecond)
	}
	require.NoError(c.t, problem, "the cache never holds what is stored")
}

func (c *Cache) compare(sound backend.Backend) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, id := range c.ids {
		r, err := sound.Get(ctx, id)
		if err != nil && !errors.Is(err, backend.ErrNotFound) {
			return err
		}
		c.mu.Lock()
		held, found := c.held[id]
		stale := c.stale[id]
		c.mu.Unlock()
		if stale || found != (err == nil) || held != string(r.Data) {
			return fmt.Errorf("of %s the cache holds %q (%v), and %q is stored", id, held, found, r.Data)
		}
	}
	return nil
}

// Told is how often Watch sent an id, or "".
func (c *Cache) Told(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told[id]
}
