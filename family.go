package keystore

import (
	"reflect"
	"sync"

	"example.com/keystore/backend"
)

// family is all Keystores of this process on one Backend value. What one of them
// changes, the cache of none may hide once the change has returned.
type family struct {
	backend backend.Backend
	members int // its keystores and the changes under way, guarded by families.mu

	mu     sync.Mutex
	caches map[*cache]struct{}
}

var families = struct {
	mu sync.Mutex
	of map[backend.Backend]*family
}{of: make(map[backend.Backend]*family)}

// joinFamily returns the family of a backend; leave it in the end. A Backend
// whose type cannot be compared has a new one for each Keystore.
func joinFamily(b backend.Backend) *family {
	f := &family{caches: make(map[*cache]struct{})}
	if !reflect.ValueOf(b).Comparable() {
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
	f.resign()
}

func (f *family) add(c *cache) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.caches[c] = struct{}{}
}

// changing is called before a write to id, and what it returns after it, whether
// that succeeded or not: then no cache keeps what was read before. Meanwhile each
// goes on with what it has; none goes back behind what it has read.
func (f *family) changing(id string) (end func()) {
	families.mu.Lock()
	f.members++ // the last keystore may leave before the change has ended
	families.mu.Unlock()
	return func() {
		for _, c := range f.all() {
			c.evict(id)
		}
		f.resign()
	}
}

func (f *family) resign() {
	families.mu.Lock()
	defer families.mu.Unlock()
	if f.members--; f.members == 0 {
		delete(families.of, f.backend)
	}
}

func (f *family) all() []*cache {
	f.mu.Lock()
	defer f.mu.Unlock()
	caches := make([]*cache, 0, len(f.caches))
	for c := range f.caches {
		caches = append(caches, c)
	}
	return caches
}

// seen tells all caches what a management call found.
func (f *family) seen(id string, revision uint64) {
	for _, c := range f.all() {
		c.seen(id, revision)
	}
}

// forget drops everything from all caches, after changes whose ids are not known.
func (f *family) forget() {
	for _, c := range f.all() {
		c.flush()
	}
}
