// Package sieve is a bounded map that many goroutines read at once. When it is
// full, SIEVE decides who leaves (Zhang et al., "SIEVE is Simpler than LRU",
// NSDI 2024): entries stand in the order in which they came, a hand walks from
// the oldest to the newest, spares whoever was asked for since it last came by,
// and takes the first that was not. So a hit moves nothing, it only leaves a
// mark, and a flood of keys that are asked for once passes through without
// pushing out the ones in use.
package sieve

import (
	"hash/maphash"
	"sync"
)

const (
	maxShards   = 256 // no two of a machine's cores often meet in one
	minPerShard = 128 // fewer, and shards fill too unevenly
)

// Map is a bounded map from string keys. Keys are spread over shards by a hash
// with a seed of this Map, so that nobody can choose keys that all meet in one.
// It is safe for concurrent use.
type Map[V any] struct {
	seed   maphash.Seed
	shards []shard[V] // a power of two
}

// New returns an empty Map that never holds more than capacity entries; less
// than 1 counts as 1. Each shard has its own part of the capacity. Since keys
// fall unevenly, a Map of many shards starts to evict when it holds some per
// cent less. Memory is taken as entries come.
func New[V any](capacity int) *Map[V] {
	capacity = max(capacity, 1)
	shards := 1
	for shards < maxShards && capacity/(2*shards) >= minPerShard {
		shards *= 2
	}
	return newMap[V](capacity, shards)
}

func newMap[V any](capacity, shards int) *Map[V] {
	m := &Map[V]{seed: maphash.MakeSeed(), shards: make([]shard[V], shards)}
	for i := range m.shards {
		s := &m.shards[i]
		s.capacity = capacity / shards
		if i < capacity%shards {
			s.capacity++
		}
		s.nodes = make(map[string]*node[V])
	}
	return m
}

func (m *Map[V]) shard(key string) *shard[V] {
	return &m.shards[maphash.String(m.seed, key)&uint64(len(m.shards)-1)]
}

// Get returns the value of key and marks it as asked for. It allocates nothing.
func (m *Map[V]) Get(key string) (V, bool) { return m.shard(key).get(key) }

// Put stores the value of key and returns how many others had to leave for it, 0
// or 1. A key that is there already keeps its place and its mark.
func (m *Map[V]) Put(key string, v V) (evicted int) { return m.shard(key).put(key, v) }

// Delete removes key and reports whether it was there.
func (m *Map[V]) Delete(key string) bool {
	return m.shard(key).deleteIf(key, func(V) bool { return true })
}

// DeleteIf removes key if same reports true of its value, in one step with the
// look at it. It reports whether it removed the key. Same must not use the Map.
func (m *Map[V]) DeleteIf(key string, same func(V) bool) bool {
	return m.shard(key).deleteIf(key, same)
}

// Clear removes all entries. What was put before the call is gone when it
// returns; what is put meanwhile may stay.
func (m *Map[V]) Clear() {
	for i := range m.shards {
		m.shards[i].clear()
	}
}

// Len returns the number of entries. While others write it is a number between
// what they found and what they leave, never more than the capacity.
func (m *Map[V]) Len() int {
	n := 0
	for i := range m.shards {
		n += m.shards[i].len()
	}
	return n
}

// shard is one part of a Map, with its own lock, order and hand.
type shard[V any] struct {
	mu             sync.RWMutex
	nodes          map[string]*node[V]
	oldest, newest *node[V]
	hand           *node[V] // the next to be judged; nil: the oldest
	capacity       int
	_              [64]byte // the next shard's lock lies on another cache line
}
