package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// command runs the command with the page's own template.
func command(results, docs string, args ...string) (status int, messages string) {
	var out bytes.Buffer
	status = run(append([]string{"-results", results, "-docs", docs}, args...), pageTemplate, &out)
	return status, out.String()
}

// What the command wrote is what -check finds, time and again; after any change of
// the page, of a chart or of the results it fails and names what differs.
func TestCheck(t *testing.T) {
	results, docs := made(t, 10), t.TempDir()
	status, messages := command(results, docs)
	require.Zero(t, status, messages)
	status, messages = command(results, docs, "-check")
	require.Zero(t, status, messages)

	chart, page := filepath.Join(docs, "charts", "lookup.svg"), filepath.Join(docs, "performance.md")
	for name, c := range map[string]struct {
		path   string
		change func([]byte) []byte
		want   string
	}{
		"page changed":  {page, func(b []byte) []byte { return append(b, '\n') }, "performance.md is not what the results give"},
		"page cut":      {page, func(b []byte) []byte { return b[:len(b)/2] }, "performance.md is not what the results give"},
		"figure edited": {page, func(b []byte) []byte { return bytes.Replace(b, []byte(" us"), []byte(" ns"), 1) }, "performance.md is not what the results give: line "},
		"chart changed": {chart, func(b []byte) []byte { return bytes.Replace(b, []byte("Redis"), []byte("redis"), 1) }, "charts/lookup.svg is not what the results give: line "},
		"page gone":     {page, func([]byte) []byte { return nil }, "performance.md is missing"},
		"chart gone":    {chart, func([]byte) []byte { return nil }, "charts/lookup.svg is missing"},
		"chart too many": {filepath.Join(docs, "charts", "old.svg"), func([]byte) []byte { return []byte("<svg/>") },
			"charts/old.svg is not in the page"},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := os.ReadFile(c.path)
			if after := c.change(bytes.Clone(before)); after != nil {
				require.NoError(t, os.WriteFile(c.path, after, 0o600))
			} else {
				require.NoError(t, os.Remove(c.path))
			}
			status, messages := command(results, docs, "-check")
			assert.Equal(t, 1, status)
			assert.Contains(t, messages, c.want)
			assert.Contains(t, messages, "go run ./cmd/report")
			if before == nil {
				require.NoError(t, os.Remove(c.path))
			} else {
				require.NoError(t, os.WriteFile(c.path, before, 0o600))
			}
		})
	}
	status, messages = command(results, docs, "-check")
	assert.Zero(t, status, messages)
}

// -check writes nothing, and nor does a run that fails.
func TestWritesNothing(t *testing.T) {
	results, docs := made(t, 1), t.TempDir()
	status, _ := command(results, docs, "-check")
	assert.Equal(t, 1, status)
	var out bytes.Buffer
	assert.Equal(t, 1, run([]string{"-results", results, "-docs", docs}, `{{value "Away" "ratio"}}`, &out))
	assert.Contains(t, out.String(), "there is no benchmark Away")
	assert.Equal(t, 1, run([]string{"-results", t.TempDir(), "-docs", docs}, "", &out))
	assert.Equal(t, 2, run([]string{"-docs", docs, "check"}, "", &out))
	assert.Equal(t, 2, run([]string{"-nothing"}, "", &out))
	left, err := os.ReadDir(docs)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestUnused(t *testing.T) {
	var out bytes.Buffer
	from := folder(t, "a.txt", "BenchmarkA 1 5 ns/op\nBenchmarkB-2 1 5 ns/op\nBenchmarkC 1 5 ns/op\n")
	require.Zero(t, run([]string{"-results", from, "-docs", t.TempDir(), "-unused"}, `{{value "A" "ns/op"}}`, &out))
	assert.Equal(t, "not in the page: B-2\nnot in the page: C\n", out.String())
}
