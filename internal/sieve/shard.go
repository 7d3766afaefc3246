package sieve

import "sync/atomic"

// node is one entry, between the one that came before it and the one after.
type node[V any] struct {
	key          string
	v            V
	older, newer *node[V]
	visited      atomic.Bool // asked for since the hand last came by
}

func (s *shard[V]) get(key string) (v V, ok bool) {
	s.mu.RLock()
	n, ok := s.nodes[key]
	if ok {
		v = n.v
		// Mostly it is set already, and then the cache line stays shared.
		if !n.visited.Load() {
			n.visited.Store(true)
		}
	}
	s.mu.RUnlock()
	return v, ok
}

func (s *shard[V]) put(key string, v V) (evicted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.nodes[key]; ok {
		n.v = v
		return 0
	}
	if len(s.nodes) == s.capacity {
		s.evict()
		evicted = 1
	}
	s.insert(&node[V]{key: key, v: v})
	return evicted
}

func (s *shard[V]) deleteIf(key string, same func(V) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.nodes[key]
	if !ok || !same(n.v) {
		return false
	}
	s.remove(n)
	return true
}

func (s *shard[V]) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = make(map[string]*node[V]) // gives the memory back, and takes no time with the lock held
	s.oldest, s.newest, s.hand = nil, nil, nil
}

func (s *shard[V]) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.nodes)
}

// evict removes the first entry from the hand on that was not asked for. All
// that it passes lose their mark, so it finds one within one round.
func (s *shard[V]) evict() {
	n := s.hand
	for n == nil || n.visited.Swap(false) {
		if n != nil {
			n = n.newer
		}
		if n == nil {
			n = s.oldest
		}
	}
	s.hand = n
	s.remove(n)
}

func (s *shard[V]) insert(n *node[V]) {
	s.nodes[n.key] = n
	n.older = s.newest
	if n.older == nil {
		s.oldest = n
	} else {
		n.older.newer = n
	}
	s.newest = n
}

// remove takes n out. The hand moves on to the next if it pointed at n.
func (s *shard[V]) remove(n *node[V]) {
	delete(s.nodes, n.key)
	if s.hand == n {
		s.hand = n.newer
	}
	if n.older == nil {
		s.oldest = n.newer
	} else {
		n.older.newer = n.newer
	}
	if n.newer == nil {
		s.newest = n.older
	} else {
		n.newer.older = n.older
	}
}
