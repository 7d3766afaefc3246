package sieve

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is SIEVE in one slice, oldest first, as the paper's pseudocode has it.
type model struct {
	entries  []modelEntry
	hand     int
	capacity int
}

type modelEntry struct {
	key     string
	v       int
	visited bool
}

func (m *model) find(key string) int {
	return slices.IndexFunc(m.entries, func(e modelEntry) bool { return e.key == key })
}

func (m *model) get(key string) (int, bool) {
	i := m.find(key)
	if i < 0 {
		return 0, false
	}
	m.entries[i].visited = true
	return m.entries[i].v, true
}

func (m *model) put(key string, v int) (evicted int) {
	if i := m.find(key); i >= 0 {
		m.entries[i].v = v
		return 0
	}
	if len(m.entries) == m.capacity {
		for {
			m.hand %= len(m.entries)
			if !m.entries[m.hand].visited {
				break
			}
			m.entries[m.hand].visited = false
			m.hand++
		}
		m.entries = slices.Delete(m.entries, m.hand, m.hand+1)
		if m.hand == len(m.entries) {
			m.hand = 0 // before the new one comes: the next round begins at the oldest
		}
		evicted = 1
	}
	m.entries = append(m.entries, modelEntry{key: key, v: v})
	return evicted
}

func (m *model) deleteIf(key string, same func(int) bool) bool {
	i := m.find(key)
	if i < 0 || !same(m.entries[i].v) {
		return false
	}
	m.entries = slices.Delete(m.entries, i, i+1)
	if m.hand > i {
		m.hand--
	}
	if m.hand == len(m.entries) {
		m.hand = 0
	}
	return true
}

func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := rapid.SampledFrom([]int{1, 1, 2, 4}).Draw(t, "shards")
		capacity := rapid.IntRange(shards, 12).Draw(t, "capacity")
		m := newMap[int](capacity, shards)
		models := make(map[*shard[int]]*model)
		for i := range m.shards {
			models[&m.shards[i]] = &model{capacity: m.shards[i].capacity}
		}
		key := rapid.Custom(func(t *rapid.T) string { return strconv.Itoa(rapid.IntRange(0, 2*capacity).Draw(t, "n")) })
		value := rapid.IntRange(0, 3)

		t.Repeat(map[string]func(*rapid.T){
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				v, ok := m.Get(k)
				wantV, wantOK := models[m.shard(k)].get(k)
				require.Equal(t, wantOK, ok)
				require.Equal(t, wantV, v)
			},
			"put": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), value.Draw(t, "value")
				require.Equal(t, models[m.shard(k)].put(k, v), m.Put(k, v))
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				want := models[m.shard(k)].deleteIf(k, func(int) bool { return true })
				require.Equal(t, want, m.Delete(k))
			},
			"delete if": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), value.Draw(t, "value")
				same := func(other int) bool { return other == v }
				require.Equal(t, models[m.shard(k)].deleteIf(k, same), m.DeleteIf(k, same))
			},
			"clear": func(t *rapid.T) {
				if !rapid.Bool().Draw(t, "really") { // else few maps ever fill
					return
				}
				m.Clear()
				for _, model := range models {
					model.entries, model.hand = nil, 0
				}
			},
			"": func(t *rapid.T) {
				var want []string
				for i := range m.shards {
					for _, e := range models[&m.shards[i]].entries {
						want = append(want, e.key)
					}
				}
				require.Equal(t, want, keys(m))
				require.Equal(t, len(want), m.Len())
				requireSound(t, m)
			},
		})
	})
}
