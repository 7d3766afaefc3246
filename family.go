package keystore

import (
	"reflect"
	"sync"
	"sync/atomic"

	"example.com/keystore/backend"
)

// family is all Keystores of this process on one Backend value. What one of them
// changes, the cache of none may hide once the change has returned.
type family struct {
	backend backend.Backend
	members int // guarded by families.mu

	under    atomic.Int64 // changes under way
	mu       sync.Mutex
	changing map[string]int
	caches   map[*cache]struct{}
}

var families = struct {
	mu sync.Mutex
	of map[backend.Backend]*family
}{of: make(map[backend.Backend]*family)}

// joinFamily returns the family of a backend; leave it in the end. A Backend
// whose type cannot be compared has a new one for each Keystore.
func joinFamily(b backend.Backend) *family {
	f := &family{changing: make(map[string]int), caches: make(map[*cache]struct{})}
	if !reflect.TypeOf(b).Comparable() {
		return f
	}
	families.mu.Lock()
	defer families.mu.Unlock()
	if known := families.of[b]; known != nil {
		f = known
	} else {
		f.backend = b
		families.of[b] = f
	}
	f.members++
	return f
}

func (f *family) leave(c *cache) {
	f.mu.Lock()
	delete(f.caches, c)
	f.mu.Unlock()
	families.mu.Lock()
	defer families.mu.Unlock()
	if f.members--; f.members == 0 {
		delete(families.of, f.backend)
	}
}

func (f *family) add(c *cache) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.caches[c] = struct{}{}
}

// change begins a change of an id and returns what ends it. In between no cache of
// the family keeps anything of the id, so there is nothing to forget in the end,
// whether the change succeeded or not.
func (f *family) change(id string) (end func()) {
	f.under.Add(1)
	f.mu.Lock()
	f.changing[id]++
	caches := make([]*cache, 0, len(f.caches))
	for c := range f.caches {
		caches = append(caches, c)
	}
	f.mu.Unlock()
	for _, c := range caches {
		c.evict(id) // takes the locks of flights, which isChanging is called with
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.changing[id]--; f.changing[id] == 0 {
			delete(f.changing, id)
		}
		f.under.Add(-1)
	}
}

// forget drops everything from all caches of the family, after changes whose ids
// are not known.
func (f *family) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.caches {
		c.flush()
	}
}

func (f *family) isChanging(id string) bool {
	if f.under.Load() == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changing[id] > 0
}
