package main

import (
	"sync"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v4"
)

// ofXsync reads from a map without locks. Its writers keep SIEVE's list behind
// one mutex.
type ofXsync struct {
	nodes *xsync.Map[string, *node]

	mu             sync.Mutex
	oldest, newest *node
	hand           *node
	room           int // for so many more entries
}

type node struct {
	key          string
	v            atomic.Pointer[value]
	older, newer *node
	visited      atomic.Bool
}

func newXsync(capacity int) cache {
	return &ofXsync{nodes: xsync.NewMap[string, *node](), room: capacity}
}

func (c *ofXsync) Get(key string) (*value, bool) {
	n, ok := c.nodes.Load(key)
	if !ok {
		return nil, false
	}
	if !n.visited.Load() {
		n.visited.Store(true)
	}
	return n.v.Load(), true
}

func (c *ofXsync) Put(key string, v *value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.nodes.Load(key); ok {
		n.v.Store(v)
		return
	}
	if c.room == 0 {
		c.evict()
	}
	n := &node{key: key, older: c.newest}
	n.v.Store(v)
	if n.older == nil {
		c.oldest = n
	} else {
		n.older.newer = n
	}
	c.newest = n
	c.room--
	c.nodes.Store(key, n)
}

func (c *ofXsync) Len() int { return c.nodes.Size() }

func (c *ofXsync) evict() {
	n := c.hand
	for n == nil || n.visited.Swap(false) {
		if n != nil {
			n = n.newer
		}
		if n == nil {
			n = c.oldest
		}
	}
	c.hand = n.newer
	if n.older == nil {
		c.oldest = n.newer
	} else {
		n.older.newer = n.newer
	}
	if n.newer == nil {
		c.newest = n.older
	} else {
		n.newer.older = n.older
	}
	c.room++
	c.nodes.Delete(n.key)
}
