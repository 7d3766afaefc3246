package main

import (
	"fmt"
	"strings"
)

// A pattern names benchmarks. Words in braces stand for one name each:
//
//	Lookup/backend={badger,redis}/case={hit-cached,hit-uncached}/keys=10000
//
// are four names, the last braces turning fastest. Several patterns are parted by
// space. A question mark at the end of one says that the page can do without.
type row struct {
	name     string
	optional bool
}

// expand gives the names in order, each once.
func expand(pattern string) ([]row, error) {
	var rows []row
	seen := map[string]bool{}
	for _, p := range strings.Fields(pattern) {
		p, optional := strings.CutSuffix(p, "?")
		names, err := braces(p)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if seen[name] {
				return nil, fmt.Errorf("pattern %q has %s twice", pattern, name)
			}
			seen[name] = true
			rows = append(rows, row{name, optional})
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("pattern %q names no benchmark", pattern)
	}
	return rows, nil
}

func braces(p string) ([]string, error) {
	before, rest, open := strings.Cut(p, "{")
	if !open {
		if strings.Contains(p, "}") {
			return nil, fmt.Errorf("pattern %q closes what it did not open", p)
		}
		return []string{p}, nil
	}
	words, after, closed := strings.Cut(rest, "}")
	if !closed || strings.ContainsAny(before, "}") || strings.Contains(words, "{") {
		return nil, fmt.Errorf("the braces of pattern %q do not match", p)
	}
	ends, err := braces(after)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, word := range strings.Split(words, ",") {
		for _, end := range ends {
			names = append(names, before+word+end)
		}
	}
	return names, nil
}

// part is the value of a key in a name: redis for "backend" in
// Lookup/backend=redis/…. The key "name" is what stands before the first slash.
func part(name, key string) (string, bool) {
	parts := strings.Split(withoutProcs(name), "/")
	if key == "name" {
		return parts[0], true
	}
	for _, p := range parts[1:] {
		if k, v, ok := strings.Cut(p, "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}

// label is how a part is written on the page: numbers of keys as powers of ten,
// as far as they are some.
func label(key, value string) string {
	if key == "keys" && len(value) > 3 && strings.Trim(value[1:], "0") == "" && value[0] == '1' {
		return fmt.Sprintf("10^%d", len(value)-1)
	}
	return value
}
