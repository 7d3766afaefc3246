package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The interval of ten samples is from the second to the ninth, as the binomial
// distribution has it at 95 %.
func TestFigure(t *testing.T) {
	samples := []float64{1.10, 1.01, 1.09, 1.02, 1.08, 1.03, 1.07, 1.04, 1.06, 1.05}
	f := summarize(samples, "ratio")
	assert.InDelta(t, 1.055, f.median, 1e-9)
	assert.Equal(t, []float64{1.02, 1.09}, []float64{f.lo, f.hi})
	assert.Equal(t, "1.06 (1.02–1.09)", f.between())
	assert.Equal(t, "1.06 ± 3%", f.percent())
	assert.Equal(t, 1.10, samples[0], "the samples keep their order")
}

// Fewer samples than an interval needs are marked, and no interval is made up.
func TestTooFewSamples(t *testing.T) {
	five := summarize([]float64{1e-6, 2e-6, 3e-6, 4e-6, 5e-6}, "ours-sec/op")
	assert.False(t, five.hasInterval())
	assert.Equal(t, "3.00 us (n=5)", five.percent())
	assert.Equal(t, "3.00 us (n=5)", five.between())
	one := summarize([]float64{1.5}, "ratio")
	assert.Equal(t, "1.50 (n=1)", one.between())
	six := summarize([]float64{1e-6, 2e-6, 3e-6, 4e-6, 5e-6, 6e-6}, "ours-sec/op")
	assert.Equal(t, "3.50 us (1.00–6.00 us)", six.between())
}

func TestBetween(t *testing.T) {
	for want, f := range map[string]figure{
		"1.00 us (990 ns–1.01 us)":      interval(1e-6, 9.9e-7, 1.01e-6, "ours-sec/op"),
		"12.0 us (11.0–13.0 us)":        interval(12, 11, 13, "over-raw-us"),
		"4.00 ns (-6.00 ns to 14.0 ns)": interval(4e-9, -6e-9, 14e-9, "over-floor-sec"),
		"26 500 /s (26 000–27 000 /s)":  interval(26500, 26000, 27000, "keys/s"),
	} {
		assert.Equal(t, want, f.between())
	}
}

func interval(median, lo, hi float64, unit string) figure {
	return figure{median: median, lo: lo, hi: hi, n: 10, unit: unit}
}

// A throughput relates by the inverse, and has no interval where the time has none.
func TestInverse(t *testing.T) {
	assert.Equal(t, "2.50 (2.00–4.00)", interval(0.4, 0.25, 0.5, "ratio").inverse("ratio").between())
	assert.Equal(t, "2.50 (n=1)", summarize([]float64{0.4}, "ratio").inverse("ratio").between())
	assert.Equal(t, "40 000 /s ± 3%", interval(25e-6, 24.5e-6, 25.7e-6, "ours-sec/op").rate().percent())
}

func TestGoal(t *testing.T) {
	between := func(lo, median, hi float64) figure { return interval(median, lo, hi, "ratio") }
	most, err := parseGoal("<= 1.5")
	require.NoError(t, err)
	assert.Equal(t, "reached", between(1.3, 1.4, 1.5).meets(most))
	assert.Equal(t, "reached, but not certain", between(1.3, 1.5, 1.6).meets(most))
	assert.Equal(t, "missed, but not certain", between(1.4, 1.6, 1.7).meets(most))
	assert.Equal(t, "missed", between(1.6, 1.7, 1.8).meets(most))
	least, err := parseGoal(">= 2.5")
	require.NoError(t, err)
	assert.Equal(t, "reached", between(2.5, 2.6, 2.7).meets(least))
	assert.Equal(t, "missed", between(2.2, 2.3, 2.4).meets(least))
	assert.Equal(t, "missed", summarize([]float64{2.4}, "ratio").meets(least))

	over, err := parseGoal("<= 250")
	require.NoError(t, err)
	f := summarize([]float64{200e-9}, "over-floor-sec")
	assert.Equal(t, "reached", f.meets(over.in("over-floor-ns")))
	assert.Equal(t, "250 ns", over.in("over-floor-ns").String(f.unit))
	assert.Equal(t, "1.5", most.String("ratio"))
	for _, text := range []string{"", "1.5", "< 1.5", "<= x", "<="} {
		_, err := parseGoal(text)
		assert.Error(t, err, text)
	}
}

func TestQuantity(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{
		{122e-9, "raw-sec/op", "122 ns"},
		{12.24e-6, "ours-sec/op", "12.2 us"},
		{999.7e-6, "sec/op", "1.00 ms"},
		{0.35e-9, "sec/op", "0.350 ns"},
		{61.5, "sec/op", "61.5 s"},
		{12345, "p50-us", "12.3 ms"},
		{5.5, "over-raw-us", "5.50 us"},
		{0, "sec/op", "0 s"},
		{402.4, "B/key", "402 B"},
		{1234, "B/op", "1 234 B"},
		{295e6, "B", "295 MB"},
		{12e6, "B/s", "12.0 MB/s"},
		{26543, "keys/s", "26 500 /s"},
		{1.085, "ratio", "1.08"},
		{12.34, "ratio", "12.3"},
		{0.00934, "ratio", "0.0093"},
		{1, "speedup", "1.00"},
		{148_000, "ratio", "148 000"},
		{0, "allocs/op", "0"},
		{4, "allocs/op", "4"},
		{0.5, "allocs/op", "0.500"},
		{0, "violations", "0"},
		{2_345_678, "changes", "2 350 000"},
	} {
		assert.Equal(t, c.want, quantity(c.v, c.unit), "%v %s", c.v, c.unit)
	}
}
