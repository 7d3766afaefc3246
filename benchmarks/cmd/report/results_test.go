package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// folder makes a folder of result files from names and contents in turns.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600))
	}
	return dir
}

func read(t *testing.T, files ...string) *results {
	t.Helper()
	r, err := readResults(folder(t, files...))
	require.NoError(t, err)
	return r
}

func TestReadResults(t *testing.T) {
	r := read(t,
		"a.txt", "go: go1.26.8\ndate: 2026-11-26\ngoos: linux\nBenchmarkLookup/keys=1000-2 \t 10 \t 120 ours-ns/op 1.5 ratio\nPASS\nok  \tx\t1.2s\n"+
			"BenchmarkLookup/keys=1000-2 \t 10 \t 110 ours-ns/op 1.25 ratio\n",
		"b.txt", "go: go1.26.8\ndate: 2026-11-27\n| a | table |\nBenchmarkGet/keys=10-1 1 30 ns/op\nBenchmarkGet/keys=10-2 1 20 ns/op\n",
		"ignored.md", "BenchmarkLookup/keys=1000 what is this",
	)
	assert.Equal(t, []string{"go1.26.8"}, r.config["go"])
	assert.Equal(t, []string{"2026-11-26", "2026-11-27"}, r.config["date"])

	f, err := r.figure("Lookup/keys=1000", "ours-ns/op")
	require.NoError(t, err)
	assert.Equal(t, 2, f.n)
	assert.InDelta(t, 115e-9, f.median, 1e-15)
	assert.Equal(t, "ours-sec/op", f.unit)

	f, err = r.figure("Get/keys=10-1", "ns/op")
	require.NoError(t, err)
	assert.InDelta(t, 30e-9, f.median, 1e-15)
	_, err = r.figure("Get/keys=10", "ns/op")
	assert.EqualError(t, err, "benchmark Get/keys=10 ran with several GOMAXPROCS, name one of Get/keys=10-1, Get/keys=10-2")
	_, err = r.figure("Get/keys=100", "ns/op")
	assert.EqualError(t, err, "there is no benchmark Get/keys=100")
	_, err = r.figure("Lookup/keys=1000", "raw-ns/op")
	assert.EqualError(t, err, "benchmark Lookup/keys=1000 (a.txt) has no raw-ns/op")

	assert.Equal(t, []string{"Get/keys=10-2"}, r.unused())
}

// What cannot be read, or not in one way only, is never passed over.
func TestReadResultsRefuses(t *testing.T) {
	const good = "BenchmarkA 1 5 ns/op\n"
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"no file":        {nil, "no results (*.txt) in "},
		"no count":       {[]string{"a.txt", good + "BenchmarkB ns/op\n"}, "a.txt:2: parsing iteration count: invalid syntax"},
		"cut off":        {[]string{"a.txt", good + "BenchmarkB 1 5"}, "a.txt:2: missing units"},
		"no value":       {[]string{"a.txt", good + "BenchmarkB 1 x ns/op\n"}, "a.txt:2: parsing measurement: invalid syntax"},
		"no measurement": {[]string{"a.txt", good + "BenchmarkB 1\n"}, "a.txt:2: missing measurements"},
		"not a number":   {[]string{"a.txt", good + "BenchmarkB 1 NaN ns/op\n"}, "a.txt:2: sec/op of B is no number"},
		"infinite":       {[]string{"a.txt", good + "BenchmarkB 1 +Inf ratio\n"}, "a.txt:2: ratio of B is no number"},
		"unit twice":     {[]string{"a.txt", good + "BenchmarkB 1 5 ns/op 6 ns/op\n"}, "a.txt:2: sec/op of B stands there twice"},
		"two runs":       {[]string{"a.txt", good, "b.txt", "go: 1\n" + good}, "b.txt:2: A is in a.txt, too"},
		"failed":         {[]string{"a.txt", good + "--- FAIL: BenchmarkB\nFAIL\n"}, "a.txt is of a run that failed: --- FAIL: BenchmarkB"},
		"panicked":       {[]string{"a.txt", good + "panic: no\n"}, "a.txt is of a run that failed: panic: no"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readResults(folder(t, c.files...))
			assert.ErrorContains(t, err, c.want)
		})
	}
}
