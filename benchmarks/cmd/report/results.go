package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchunit"
)

// results are the samples of every benchmark in a folder of result files.
type results struct {
	benchmarks map[string]*benchmark // by full name
	short      map[string][]string   // the full names that differ only in GOMAXPROCS, by what is before it
	config     map[string][]string   // what a key was set to, in the order of the files, each value once
	tables     []string              // in Markdown, which a program has printed beside its results
}

// benchmark is all samples of one name. They come from one file: samples of two
// runs are not samples of one thing.
type benchmark struct {
	file   string
	values map[string][]float64 // by unit, as benchunit tidies it (ns: sec, MB: B)
	used   bool                 // by the page
}

// readResults reads *.txt of the folder. What cannot be read, or would be read
// wrongly, is an error that names file and line: nothing is passed over.
func readResults(folder string) (*results, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.txt")) // sorted
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no results (*.txt) in %s", folder)
	}
	r := &results{benchmarks: map[string]*benchmark{}, short: map[string][]string{}, config: map[string][]string{}}
	var failed []error
	for _, path := range paths {
		failed = append(failed, r.readFile(path))
	}
	return r, errors.Join(failed...)
}

// failedRun is what go test says of a run that did not end well. The format lets
// a reader skip such lines, but half a run is no result.
var failedRun = regexp.MustCompile(`(?m)^\s*(--- FAIL|FAIL\b|panic: |fatal error: ).*$`)

var markdownTable = regexp.MustCompile(`(?m)(^\|.*\|\n)+`)

func (r *results) readFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file := filepath.Base(path)
	if line := failedRun.Find(text); line != nil {
		return fmt.Errorf("%s is of a run that failed: %s", file, bytes.TrimSpace(line))
	}
	r.tables = append(r.tables, markdownTable.FindAllString(string(text), -1)...)
	var failed []error
	reader := benchfmt.NewReader(bytes.NewReader(text), file)
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.Result:
			failed = append(failed, r.add(record))
		case *benchfmt.SyntaxError:
			failed = append(failed, record)
		}
	}
	return errors.Join(append(failed, reader.Err())...)
}

// add keeps a copy of one line: the reader reuses its memory.
func (r *results) add(line *benchfmt.Result) error {
	file, number := line.Pos()
	name := line.Name.String()
	b := r.benchmarks[name]
	if b == nil {
		b = &benchmark{file: file, values: map[string][]float64{}}
		r.benchmarks[name] = b
		r.short[withoutProcs(name)] = append(r.short[withoutProcs(name)], name)
	}
	if b.file != file {
		return fmt.Errorf("%s:%d: %s is in %s, too", file, number, name, b.file)
	}
	var units []string
	for _, v := range line.Values {
		if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
			return fmt.Errorf("%s:%d: %s of %s is no number", file, number, v.Unit, name)
		}
		if slices.Contains(units, v.Unit) {
			return fmt.Errorf("%s:%d: %s of %s stands there twice", file, number, v.Unit, name)
		}
		units = append(units, v.Unit)
		b.values[v.Unit] = append(b.values[v.Unit], v.Value)
	}
	for _, c := range line.Config {
		if value := string(c.Value); c.File && !slices.Contains(r.config[c.Key], value) {
			r.config[c.Key] = append(r.config[c.Key], value)
		}
	}
	return nil
}

// withoutProcs cuts off the GOMAXPROCS that the testing package adds to a name.
func withoutProcs(name string) string {
	if _, parts := benchfmt.Name(name).Parts(); len(parts) > 0 {
		if last := string(parts[len(parts)-1]); strings.HasPrefix(last, "-") {
			return strings.TrimSuffix(name, last)
		}
	}
	return name
}

// find looks a benchmark up by its name, without the word Benchmark. GOMAXPROCS
// need not be named unless the benchmark ran with several.
func (r *results) find(name string) (*benchmark, error) {
	if b := r.benchmarks[name]; b != nil {
		return b, nil
	}
	switch full := r.short[name]; len(full) {
	case 0:
		return nil, fmt.Errorf("there is no benchmark %s", name)
	case 1:
		return r.benchmarks[full[0]], nil
	default:
		return nil, fmt.Errorf("benchmark %s ran with several GOMAXPROCS, name one of %s", name, strings.Join(full, ", "))
	}
}

// figure sums up one unit of a benchmark, named as in the results ("ours-ns/op").
func (r *results) figure(name, unit string) (figure, error) {
	b, err := r.find(name)
	if err != nil {
		return figure{}, err
	}
	b.used = true
	_, tidied := benchunit.Tidy(1, unit)
	if len(b.values[tidied]) == 0 {
		return figure{}, fmt.Errorf("benchmark %s (%s) has no %s", name, b.file, unit)
	}
	return summarize(b.values[tidied], tidied), nil
}

func (r *results) has(name string) bool { return r.benchmarks[name] != nil || r.short[name] != nil }

// unused are the names that no figure was asked of.
func (r *results) unused() []string {
	var names []string
	for name, b := range r.benchmarks {
		if !b.used {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
