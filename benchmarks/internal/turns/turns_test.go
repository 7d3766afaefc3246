package turns_test

import (
	"errors"
	"flag"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/benchmarks/internal/turns"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.benchtime", "5x"); err != nil { // of testing.Benchmark
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// Every number is passed once, each side is called in every turn, and what it costs
// is told per operation.
func TestRun(t *testing.T) {
	var mu sync.Mutex
	var raws, ours []int
	prepared := 0
	note := func(numbers *[]int, cost time.Duration) func(int) error {
		return func(i int) error {
			mu.Lock()
			defer mu.Unlock()
			if *numbers = append(*numbers, i); cost > 0 {
				time.Sleep(cost)
			}
			return nil
		}
	}
	pair := turns.Pair{
		Callers: 3, Turn: time.Millisecond, Block: 10,
		Raw:  turns.Side{Op: note(&raws, 10*time.Microsecond), Each: 1000, Prepare: func() error { prepared++; return nil }},
		Ours: turns.Side{Op: note(&ours, 0)},
	}
	var r turns.Result
	run := func(b *testing.B) { r = turns.Run(b, &pair) }
	testing.Benchmark(run)
	pair.Callers = 2
	result := testing.Benchmark(run)
	require.Positive(t, result.N)
	assert.Equal(t, 2*result.N, prepared)
	for _, numbers := range [][]int{raws, ours} {
		slices.Sort(numbers)
		assert.GreaterOrEqual(t, len(numbers), 5*result.N)
		assert.Equal(t, numbers, slices.Compact(slices.Clone(numbers)), "no number twice")
	}
	assert.Equal(t, r.Raw, result.Extra["raw-ns/op"])
	assert.Equal(t, r.Ours, result.Extra["ours-ns/op"])
	assert.Equal(t, r.Ratio, result.Extra["ratio"])
	assert.Less(t, r.Raw, 1e6, "of a call of 1000 operations")
	assert.Positive(t, r.Ours)
}

// What is used up ends a turn and is no operation.
func TestUsedUp(t *testing.T) {
	left, calls := 0, 0
	result := testing.Benchmark(func(b *testing.B) {
		left, calls = 0, 0
		turns.Run(b, &turns.Pair{Callers: 1, Turn: time.Hour, Ours: turns.Side{
			Prepare: func() error { left = 2000; return nil },
			Op: func(i int) error {
				if left == 0 {
					return turns.ErrUsedUp
				}
				left--
				calls++
				return nil
			},
		}})
	})
	assert.Equal(t, 2000*result.N, calls)
	assert.NotContains(t, result.Extra, "ratio")
}

// A call that fails, and a turn in which nothing was done, give no figure.
func TestFailure(t *testing.T) {
	for name, side := range map[string]turns.Side{
		"failed":   {Op: func(int) error { return errors.New("no") }},
		"prepare":  {Op: func(int) error { return nil }, Prepare: func() error { return errors.New("no") }},
		"used up":  {Op: func(int) error { return turns.ErrUsedUp }},
		"sometime": {Op: func(i int) error { return map[int]error{1000: errors.New("no")}[i] }},
	} {
		result := testing.Benchmark(func(b *testing.B) {
			turns.Run(b, &turns.Pair{Callers: 4, Turn: 20 * time.Millisecond, Ours: side})
		})
		assert.Zero(t, result.N, name)
	}
}
