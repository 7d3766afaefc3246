package main

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"example.com/keystore/internal/sieve"
)

// value stands for what the read cache keeps of a key.
type value struct{ _ [64]byte }

// cache is what the read cache needs of a structure.
type cache interface {
	Get(key string) (*value, bool)
	Put(key string, v *value)
	Len() int
}

// candidates lists the structures, internal/sieve first. Make gives an empty one
// for so many entries.
var candidates = []struct {
	name    string
	bounded bool
	make    func(capacity int) cache
}{
	{"sieve", true, func(capacity int) cache { return own{sieve.New[*value](capacity)} }},
	{"otter", true, func(capacity int) cache {
		return ofOtter{otter.Must(&otter.Options[string, *value]{MaximumSize: capacity})}
	}},
	{"otter+expiry", true, func(capacity int) cache {
		return ofOtter{otter.Must(&otter.Options[string, *value]{
			MaximumSize:      capacity,
			ExpiryCalculator: otter.ExpiryWriting[string, *value](time.Hour),
		})}
	}},
	{"xsync+sieve", true, newXsync},
	{"golang-lru", true, func(capacity int) cache {
		c, err := lru.New[string, *value](capacity)
		if err != nil {
			panic(err) // a capacity below 1
		}
		return ofLRU{c}
	}},
	{"sync.Map", false, func(int) cache { return &ofSyncMap{} }},
}

type own struct{ *sieve.Map[*value] }

func (c own) Put(key string, v *value) { c.Map.Put(key, v) }

type ofOtter struct{ *otter.Cache[string, *value] }

func (c ofOtter) Get(key string) (*value, bool) { return c.GetIfPresent(key) }
func (c ofOtter) Put(key string, v *value)      { c.Set(key, v) }

// Len waits for the bookkeeping, which otter does beside its callers.
func (c ofOtter) Len() int {
	c.CleanUp()
	return c.EstimatedSize()
}

type ofLRU struct{ *lru.Cache[string, *value] }

func (c ofLRU) Put(key string, v *value) { c.Add(key, v) }

// ofSyncMap is the floor: it has no bound.
type ofSyncMap struct{ m sync.Map }

func (c *ofSyncMap) Get(key string) (*value, bool) {
	v, ok := c.m.Load(key)
	if !ok {
		return nil, false
	}
	return v.(*value), true
}

func (c *ofSyncMap) Put(key string, v *value) { c.m.Store(key, v) }

func (c *ofSyncMap) Len() int {
	n := 0
	c.m.Range(func(any, any) bool { n++; return true })
	return n
}
