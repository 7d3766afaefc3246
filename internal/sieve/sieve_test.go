package sieve

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// keys returns the keys of m from the oldest to the newest, shard by shard.
func keys[V any](m *Map[V]) []string {
	var all []string
	for i := range m.shards {
		for n := m.shards[i].oldest; n != nil; n = n.newer {
			all = append(all, n.key)
		}
	}
	return all
}

// requireSound checks that list, map and hand of every shard agree. It is called
// for a million entries, so it asserts once a shard.
func requireSound[V any](t require.TestingT, m *Map[V]) {
	for i := range m.shards {
		s := &m.shards[i]
		sound, count, hand := true, 0, s.hand == nil
		var last *node[V]
		for n := s.oldest; n != nil; n = n.newer {
			sound = sound && s.nodes[n.key] == n && n.older == last && m.shard(n.key) == s
			hand = hand || n == s.hand
			count, last = count+1, n
		}
		require.True(t, sound, "each entry of the list is in the map, and the list reads the same in both directions")
		require.True(t, s.newest == last, "the list ends at the newest")
		require.Equal(t, len(s.nodes), count, "each entry of the map is in the list")
		require.LessOrEqual(t, count, s.capacity)
		require.True(t, hand, "the hand points at an entry")
	}
}

func TestGetPutDelete(t *testing.T) {
	for _, capacity := range []int{-1, 0, 1, 2, 1000} {
		m := New[int](capacity)
		_, ok := m.Get("a")
		require.False(t, ok)
		require.False(t, m.Delete("a"))

		require.Zero(t, m.Put("a", 1))
		require.Zero(t, m.Put("a", 2), "replacing evicts nobody")
		v, ok := m.Get("a")
		require.True(t, ok)
		require.Equal(t, 2, v)
		require.Equal(t, 1, m.Len())

		require.True(t, m.Delete("a"))
		_, ok = m.Get("a")
		require.False(t, ok)
		require.Zero(t, m.Len())
		requireSound(t, m)
	}
}

func TestPartsAddUpToTheCapacity(t *testing.T) {
	for capacity := 1; capacity < 100_000; capacity += 1 + capacity/50 {
		m := New[int](capacity)
		require.Zero(t, len(m.shards)&(len(m.shards)-1), "a power of two")
		sum := 0
		for i := range m.shards {
			require.Positive(t, m.shards[i].capacity)
			sum += m.shards[i].capacity
		}
		require.Equal(t, capacity, sum)
	}
}

func TestHandSparesWhatWasAskedFor(t *testing.T) {
	m := newMap[int](4, 1)
	for _, key := range []string{"a", "b", "c", "d"} {
		require.Zero(t, m.Put(key, 0))
	}
	m.Get("a")
	m.Get("c")

	require.Equal(t, 1, m.Put("e", 0))
	require.Equal(t, []string{"a", "c", "d", "e"}, keys(m), "the hand passed a and took b")
	require.Equal(t, 1, m.Put("f", 0))
	require.Equal(t, []string{"a", "c", "e", "f"}, keys(m), "it passed c and took d")
	m.Get("e")
	require.Equal(t, 1, m.Put("g", 0))
	require.Equal(t, []string{"a", "c", "e", "g"}, keys(m), "it passed e and took f")
	m.Get("c")
	require.Equal(t, 1, m.Put("h", 0))
	require.Equal(t, []string{"c", "e", "g", "h"}, keys(m), "f was the newest, so it began at the oldest; a had lost its mark")
	require.Equal(t, 1, m.Put("i", 0))
	require.Equal(t, []string{"c", "g", "h", "i"}, keys(m), "it passed c and took e")
	requireSound(t, m)
}

func TestAllAskedForStillEvictsOne(t *testing.T) {
	for _, capacity := range []int{1, 2, 3} {
		m := newMap[int](capacity, 1)
		for i := range capacity {
			m.Put(strconv.Itoa(i), i)
			m.Get(strconv.Itoa(i))
		}
		require.Equal(t, 1, m.Put("new", 0))
		require.Equal(t, capacity, m.Len())
		require.NotContains(t, keys(m), "0", "a whole round later the oldest goes")
		require.Contains(t, keys(m), "new")
		requireSound(t, m)
	}
}

func TestReplacedEntryKeepsItsPlaceAndMark(t *testing.T) {
	m := newMap[int](3, 1)
	for _, key := range []string{"a", "b", "c"} {
		m.Put(key, 0)
	}
	m.Get("b")
	m.Put("a", 1)
	m.Put("b", 1)
	require.Equal(t, []string{"a", "b", "c"}, keys(m))
	m.Put("d", 0)
	require.Equal(t, []string{"b", "c", "d"}, keys(m), "to be replaced is not to be asked for")
	m.Put("e", 0)
	require.Equal(t, []string{"b", "d", "e"}, keys(m), "b kept its mark")
}

func TestEntriesInUseSurviveAFlood(t *testing.T) {
	m := New[int](1000)
	inUse := func(each func(key string)) {
		for i := range 500 {
			each(fmt.Sprint("in use ", i))
		}
	}
	inUse(func(key string) { m.Put(key, 0); m.Get(key) })
	for i := range 100_000 {
		m.Put(fmt.Sprint("once ", i), 0)
		if i%100 == 0 {
			inUse(func(key string) { m.Get(key) })
		}
	}
	inUse(func(key string) {
		_, ok := m.Get(key)
		require.True(t, ok, key)
	})
	require.Equal(t, 1000, m.Len())
}

func TestDeleteAtTheHand(t *testing.T) {
	m := newMap[int](3, 1)
	for _, key := range []string{"a", "b", "c"} {
		m.Put(key, 0)
	}
	m.Get("a")
	m.Put("d", 0)
	require.Equal(t, "c", m.shards[0].hand.key)

	require.True(t, m.Delete("c"))
	requireSound(t, m)
	require.Zero(t, m.Put("e", 0), "there was room")
	require.Equal(t, 1, m.Put("f", 0))
	require.Equal(t, []string{"a", "e", "f"}, keys(m), "the hand had moved on to d")

	require.True(t, m.Delete("e"))
	require.True(t, m.Delete("f"))
	requireSound(t, m)
	require.Nil(t, m.shards[0].hand, "past the newest")
}

func TestDeleteIf(t *testing.T) {
	m := New[int](10)
	m.Put("a", 1)
	require.False(t, m.DeleteIf("a", func(v int) bool { return v == 2 }))
	require.False(t, m.DeleteIf("b", func(int) bool { panic("asked about a key that is not there") }))
	require.Equal(t, 1, m.Len())
	require.True(t, m.DeleteIf("a", func(v int) bool { return v == 1 }))
	require.Zero(t, m.Len())

	m.Put("a", 1)
	require.Panics(t, func() { m.DeleteIf("a", func(int) bool { panic("a fault of the caller") }) })
	require.True(t, m.Delete("a"), "the lock is free again")
}

func TestClear(t *testing.T) {
	for _, capacity := range []int{1, 2, 1000} {
		m := New[int](capacity)
		for round := range 3 {
			for i := range 3 * capacity { // the hand is somewhere
				m.Put(strconv.Itoa(i), i)
				m.Get(strconv.Itoa(i / 2))
			}
			require.Equal(t, capacity, m.Len(), "round %d", round)
			m.Clear()
			require.Zero(t, m.Len())
			_, ok := m.Get(strconv.Itoa(3*capacity - 1))
			require.False(t, ok)
			requireSound(t, m)
		}
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	m := New[*int](1000)
	m.Put("there", new(int))
	require.Zero(t, testing.AllocsPerRun(1000, func() { m.Get("there"); m.Get("absent") }))
}

// Whoever may choose keys, as a flood of well-formed tokens does, cannot know
// which of them share a shard.
func TestEachMapSpreadsKeysItsOwnWay(t *testing.T) {
	a, b := New[int](10_000), New[int](10_000)
	differ := 0
	for i := range 1000 {
		a.Put(strconv.Itoa(i), i)
		b.Put(strconv.Itoa(i), i)
	}
	for i := range a.shards {
		if a.shards[i].len() != b.shards[i].len() {
			differ++
		}
		require.Less(t, a.shards[i].len(), 200, "a thousand keys are spread over %d shards", len(a.shards))
	}
	require.Positive(t, differ)
}
