package stores

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"

	"example.com/keystore/memory"
)

func openMemory(tb testing.TB, keys int) *Store {
	tb.Helper()
	back := memory.New()
	s := &Store{Backend: back, tb: tb, Bare: &bareMemory{
		back: back, values: map[string][]byte{}, owners: map[string][]string{},
	}}
	tb.Cleanup(s.Close)
	var err error
	s.Tokens, err = fill(back, keys)
	s.must(err)
	return s
}

// bareMemory is what a program writes that keeps something in memory: a map behind
// a lock. As from any store, what comes out is a copy.
type bareMemory struct {
	back   *memory.Backend
	mu     sync.RWMutex
	values map[string][]byte
	owners map[string][]string // ids in order
}

func (m *bareMemory) Reader(ids []string) (func(i int) (int, error), error) {
	for _, id := range ids {
		if r, err := m.back.Get(context.Background(), id); err == nil {
			m.values[id] = r.Data
		}
	}
	return func(i int) (int, error) {
		m.mu.RLock()
		defer m.mu.RUnlock()
		return len(bytes.Clone(m.values[ids[i]])), nil
	}, nil
}

func (m *bareMemory) Put(id, owner string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[id] = bytes.Clone(value)
	ids := m.owners[owner]
	at, _ := slices.BinarySearch(ids, id)
	m.owners[owner] = slices.Insert(ids, at, id)
	return nil
}

func (m *bareMemory) Replace(id, _ string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[id] == nil {
		return errMissing
	}
	m.values[id] = bytes.Clone(value)
	return nil
}

func (m *bareMemory) Page(owner string, limit int) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ids := m.owners[owner]
	page := make([][]byte, 0, limit)
	for _, id := range ids[:min(limit, len(ids))] {
		page = append(page, bytes.Clone(m.values[id]))
	}
	return len(page), nil
}

func (m *bareMemory) Delete(owner string, ids []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		delete(m.values, id)
		if at, found := slices.BinarySearch(m.owners[owner], id); found {
			m.owners[owner] = slices.Delete(m.owners[owner], at, at+1)
		}
	}
	return nil
}
