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

// step is one call, with a key out of few.
type step struct {
	Call   string
	Key, V int
}

func steps(keys int) *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			Call: rapid.SampledFrom([]string{"get", "get", "get", "put", "put", "put", "put", "delete", "deleteIf"}).Draw(t, "call"),
			Key:  rapid.IntRange(0, keys-1).Draw(t, "key"),
			V:    rapid.IntRange(0, 2).Draw(t, "v"),
		}
	}), 0, 150)
}

func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := rapid.SampledFrom([]int{1, 1, 1, 2, 4}).Draw(t, "shards")
		capacity := rapid.IntRange(shards, 5*shards).Draw(t, "capacity")
		m := newMap[int](capacity, shards)
		models := make(map[*shard[int]]*model)
		for i := range m.shards {
			models[&m.shards[i]] = &model{capacity: m.shards[i].capacity}
		}
		for range rapid.IntRange(1, 2).Draw(t, "lives") {
			for _, step := range steps(2*capacity+1).Draw(t, "steps") {
				apply(t, step, m, models)
				requireSame(t, m, models)
			}
			m.Clear()
			for _, model := range models {
				model.entries, model.hand = nil, 0
			}
			requireSame(t, m, models)
		}
	})
}

func apply(t *rapid.T, step step, m *Map[int], models map[*shard[int]]*model) {
	key := strconv.Itoa(step.Key)
	model := models[m.shard(key)]
	same := func(v int) bool { return v == step.V }
	switch step.Call {
	case "get":
		v, ok := m.Get(key)
		wantV, wantOK := model.get(key)
		require.Equal(t, wantOK, ok)
		require.Equal(t, wantV, v)
	case "put":
		require.Equal(t, model.put(key, step.V), m.Put(key, step.V))
	case "delete":
		require.Equal(t, model.deleteIf(key, func(int) bool { return true }), m.Delete(key))
	case "deleteIf":
		require.Equal(t, model.deleteIf(key, same), m.DeleteIf(key, same))
	}
}

// requireSame compares the order of entries, which is all that eviction goes by
// but for hand and marks; those show in what leaves later.
func requireSame(t *rapid.T, m *Map[int], models map[*shard[int]]*model) {
	var want []string
	for i := range m.shards {
		for _, e := range models[&m.shards[i]].entries {
			want = append(want, e.key)
		}
	}
	require.Equal(t, want, keys(m))
	require.Equal(t, len(want), m.Len())
	requireSound(t, m)
}
