package main

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The figures compare like with like only if every candidate keeps what it has
// room for, replaces, and holds its bound.
func TestCandidatesDoTheSameJob(t *testing.T) {
	const capacity = 1000
	keys := newKeys(rand.New(rand.NewPCG(1, 2)), 5*capacity)
	for _, candidate := range candidates {
		t.Run(candidate.name, func(t *testing.T) {
			c := candidate.make(capacity)
			want := make(map[string]*value)
			for range 2 {
				for _, key := range keys[:capacity/2] {
					want[key] = new(value)
					c.Put(key, want[key])
				}
			}
			require.Equal(t, capacity/2, c.Len())
			for key, v := range want {
				got, ok := c.Get(key)
				require.True(t, ok)
				require.Same(t, v, got)
			}
			_, ok := c.Get(keys[capacity])
			require.False(t, ok)

			for _, key := range keys {
				c.Put(key, new(value))
			}
			if candidate.bounded {
				require.LessOrEqual(t, c.Len(), capacity)
				require.Greater(t, c.Len(), capacity*9/10, "and it is full")
			} else {
				require.Equal(t, len(keys), c.Len())
			}
		})
	}
}

func TestNewKeysDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for _, key := range newKeys(rand.New(rand.NewPCG(1, 2)), 100_000) {
		require.Len(t, key, keyLen)
		seen[key] = true
	}
	require.Len(t, seen, 100_000)
}

// A cache that holds the most frequent keys must reach what best computes, or the
// load is not what it says.
func TestBestIsReached(t *testing.T) {
	const capacity = 1000
	keys := newKeys(rand.New(rand.NewPCG(1, 2)), keysPerEntry*capacity)
	for _, s := range zipfs {
		c := frequent{}
		for _, key := range keys[:capacity] {
			c[key] = true
		}
		require.InDelta(t, best(capacity, len(keys), s), hitRate(c, capacity, keys, s, nil), 0.02, "s=%g", s)
	}
}

// frequent holds the same keys for ever.
type frequent map[string]bool

func (c frequent) Get(key string) (*value, bool) { return nil, c[key] }
func (c frequent) Put(string, *value)            {}
func (c frequent) Len() int                      { return len(c) }
