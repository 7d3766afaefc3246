package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// write puts the files below docs.
func write(docs string, files map[string][]byte) error {
	if err := os.MkdirAll(filepath.Join(docs, "charts"), 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(docs, filepath.FromSlash(name)), files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compare says which files below docs are not what they should be, a chart that
// the page does not have among them.
func compare(docs string, files map[string][]byte) error {
	var differ []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		have, err := os.ReadFile(filepath.Join(docs, filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			differ = append(differ, fmt.Errorf("%s is missing", name))
		case err != nil:
			differ = append(differ, err)
		case !bytes.Equal(have, files[name]):
			differ = append(differ, fmt.Errorf("%s is not what the results give: line %d differs", name, firstDifference(have, files[name])))
		}
	}
	drawn, err := filepath.Glob(filepath.Join(docs, "charts", "*.svg"))
	if err != nil {
		return err
	}
	for _, path := range drawn {
		name := "charts/" + filepath.Base(path)
		if files[name] == nil {
			differ = append(differ, fmt.Errorf("%s is not in the page", name))
		}
	}
	if len(differ) > 0 {
		differ = append(differ, errors.New("run `go run ./cmd/report` in benchmarks/, and commit what it writes"))
	}
	return errors.Join(differ...)
}

// firstDifference is the number of the first line in which the two differ.
func firstDifference(a, b []byte) int {
	line := 1
	for i := 0; i < min(len(a), len(b)); i++ {
		if a[i] != b[i] {
			return line
		}
		if a[i] == '\n' {
			line++
		}
	}
	return line
}
