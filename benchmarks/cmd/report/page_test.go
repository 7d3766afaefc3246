package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// few are results of six runs each, but for one.
func few() string {
	var b strings.Builder
	b.WriteString("go: go1.26.8\nmachine: of the test\n")
	for i := range 6 {
		d := float64(i)
		fmt.Fprintf(&b, "BenchmarkLookup/backend=badger/keys=1000-2 9 %g raw-ns/op %g ours-ns/op %g ratio\n", 3000+d, 4000+d, 1.3+d/100)
		fmt.Fprintf(&b, "BenchmarkLookup/backend=badger/keys=100000-2 9 %g raw-ns/op %g ours-ns/op %g ratio\n", 8000+d, 12000+d, 1.48+d/100)
		fmt.Fprintf(&b, "BenchmarkLookup/backend=redis/keys=1000-2 9 %g raw-ns/op %g ours-ns/op %g ratio\n", 22000+d, 24000+d, 1.05+d/100)
	}
	b.WriteString("| sizes, in B | 10 |\n| --- | --- |\n| a | 7 |\n\n| hits | 10 |\n| --- | --- |\n")
	b.WriteString("BenchmarkFleet/backend=redis 1 1234 p50-us 0 violations\n")
	return b.String()
}

func render(t *testing.T, tmpl string) (string, error) {
	t.Helper()
	files, err := build(read(t, "few.txt", few()), tmpl)
	return string(files["performance.md"]), err
}

func TestFunctions(t *testing.T) {
	for tmpl, want := range map[string]string{
		`{{config "go"}}`:                                                                        "go1.26.8",
		`{{range configs "go"}}{{.}},{{end}}`:                                                    "go1.26.8,",
		`{{value "Lookup/backend=redis/keys=1000" "ours-ns/op"}}`:                                "24.0 us",
		`{{spread "Lookup/backend=redis/keys=1000" "ours-ns/op"}}`:                               "24.0 us ± 0%",
		`{{between "Lookup/backend=redis/keys=1000" "ours-ns/op"}}`:                              "24.0 us (24.0–24.0 us)",
		`{{ratio "Lookup/backend=redis/keys=1000"}}`:                                             "1.08 (1.05–1.10)",
		`{{met "Lookup/backend=redis/keys=1000" "ratio" "<= 1.15"}}`:                             "reached",
		`{{met "Lookup/backend=badger/keys=100000" "ratio" "<= 1.5"}}`:                           "missed, but not certain",
		`{{samples "Lookup/backend=redis/keys=1000" "ratio"}}`:                                   "6",
		`{{spread "Fleet/backend=redis" "p50-us"}}`:                                              "1.23 ms (n=1)",
		`{{value "Lookup/backend=mongo/keys=1000" "raw-ns/op" "not measured"}}`:                  "not measured",
		`{{ratio "Lookup/backend=mongo/keys=1000" "not measured"}}`:                              "not measured",
		`{{met "Lookup/backend=mongo/keys=1000" "ratio" "<= 1" "not measured"}}`:                 "not measured",
		`{{if has "Lookup/backend={badger,redis}/keys=1000"}}yes{{else}}no{{end}}`:               "yes",
		`{{if has "Lookup/backend={badger,mongo}/keys=1000"}}yes{{else}}no{{end}}`:               "no",
		`{{faster "Lookup/backend=redis/keys=1000"}}`:                                            "0.93 (0.91–0.95)",
		`{{rate "Lookup/backend=redis/keys=1000" "ours-ns/op"}}`:                                 "41 700 /s",
		`{{most "Lookup/backend=redis/keys=1000" "ratio"}}`:                                      "1.10",
		`{{sum "Lookup/backend={redis,badger}/keys=1000 Lookup/backend=redis/keys=7?" "ratio"}}`: "14.4",
		`{{keys "100000"}} {{keys "128"}}`:                                                       "10^5 128",
		`{{copied "sizes"}}`:                                                                     "| sizes, in B | 10 |\n| --- | --- |\n| a | 7 |",
		`{{copied "hits"}}`:                                                                      "| hits | 10 |\n| --- | --- |",
		`{{range list "a" "b"}}{{.}},{{end}}`:                                                    "a,b,",
	} {
		got, err := render(t, tmpl)
		require.NoError(t, err, tmpl)
		assert.Equal(t, want, got, tmpl)
	}
}

func TestTable(t *testing.T) {
	got, err := render(t, `{{table "Lookup/backend=badger/keys={1000,100000} Lookup/backend={redis,mongo}/keys=1000?"
		"backend: {backend}" "keys: {keys}" "raw: raw-ns/op bare / raw-ns/op rate" "Lookup: ours-ns/op" "ratio: ratio" "goal: ratio <= 1.5"}}`)
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(`
| backend | keys | raw | Lookup | ratio | goal |
| --- | --- | --- | --- | --- | --- |
| badger | 10^3 | 3.00 us / 333 000 /s | 4.00 us ± 0% | 1.33 (1.30–1.35) | 1.5, reached |
| badger | 10^5 | 8.00 us / 125 000 /s | 12.0 us ± 0% | 1.50 (1.48–1.53) | 1.5, missed, but not certain |
| redis | 10^3 | 22.0 us / 45 400 /s | 24.0 us ± 0% | 1.08 (1.05–1.10) | 1.5, reached |`), got)

	got, err = render(t, `{{table "Lookup/backend=redis/keys=1000" "a: ratio times, or / ratio inverse / ours-ns/op most"}}`)
	assert.ErrorContains(t, err, `"times, or" is no goal`)
	assert.Empty(t, got)
	got, err = render(t, `{{table "Lookup/backend=redis/keys=1000" "a: ratio times / ratio inverse / ours-ns/op most" "b: {cache?}"}}`)
	require.NoError(t, err)
	assert.Equal(t, "| a | b |\n| --- | --- |\n| 1.08x / 0.93 (0.91–0.95) / 24.0 us | – |", got)

	got, err = render(t, `{{table "Lookup/backend=mongo/keys=1000?" "backend: {backend}"}}`)
	require.NoError(t, err)
	assert.Equal(t, "Not measured.", got)
}

func TestGrid(t *testing.T) {
	got, err := render(t, `{{grid "keys" "backend" "ratio" "Lookup/backend={badger,redis}/keys={1000,100000}?"}}`)
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(`
| keys | badger | redis |
| --- | --- | --- |
| 10^3 | 1.33 (1.30–1.35) | 1.08 (1.05–1.10) |
| 10^5 | 1.50 (1.48–1.53) | – |`), got)
}

// Whatever is missing is named, all of it at once, and nothing is published.
func TestMissing(t *testing.T) {
	files, err := build(read(t, "few.txt", few()), `{{value "Lookup/backend=redis/keys=7" "ours-ns/op"}}
{{value "Lookup/backend=redis/keys=7" "raw-ns/op"}}
{{table "Lookup/backend={badger,mongo}/keys=1000" "ratio: ratio"}}
{{grid "keys" "backend" "ratio" "Lookup/backend={redis,etcd}/keys=1000"}}
{{ratio "Fleet/backend=redis" "no way out, for it is there"}}
{{met "Away" "ratio" "<= 1"}} {{config "cores"}} {{copied "misses"}}`)
	assert.Nil(t, files)
	assert.EqualError(t, err, strings.TrimSpace(`
there is no benchmark Lookup/backend=redis/keys=7
there is no benchmark Lookup/backend=mongo/keys=1000
there is no benchmark Lookup/backend=etcd/keys=1000
benchmark Fleet/backend=redis (few.txt) has no ratio
there is no benchmark Away
no results have the configuration line cores
no results have a table of "misses"`))
}

// A mistake of the template is told at once.
func TestTemplateMistakes(t *testing.T) {
	for tmpl, want := range map[string]string{
		`{{value "A"}}`:           "wrong number of args",
		`{{nothing "A"}}`:         `function "nothing" not defined`,
		`{{chart "pie" "a pie"}}`: `there is no chart "pie"`,
		`{{met "Fleet/backend=redis" "violations" "few"}}`:                     `"few" is no goal`,
		`{{table "Fleet/backend=redis" "violations"}}`:                         `"violations" is no column`,
		`{{table "Fleet/backend=redis" "x: {keys}"}}`:                          "has no part keys",
		`{{table "" "x: ratio"}}`:                                              "names no benchmark",
		`{{has "A/{b"}}`:                                                       "do not match",
		`{{grid "keys" "backend" "ratio" "Fleet/backend=redis"}}`:              "has no keys or no backend",
		`{{grid "name" "name" "violations" "Fleet/backend=redis Fleet/a=1?"}}`: "a second benchmark",
		`{{table "Fleet/backend=redis" "x: violations < 1"}}`:                  `"< 1" is no goal`,
	} {
		_, err := render(t, tmpl)
		assert.ErrorContains(t, err, want, tmpl)
	}
}
