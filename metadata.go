package keystore

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

const (
	maxMetadata      = 64
	maxMetadataBytes = 16 << 10
)

// Metadata is what the owner of a key attached to it, immutable. The zero value
// is empty.
type Metadata struct{ pairs []pair } // ascending by key

type pair struct{ key, value string }

// Get returns the value of a key, and whether there is one.
func (m Metadata) Get(key string) (string, bool) {
	i, ok := slices.BinarySearchFunc(m.pairs, key, func(p pair, key string) int { return strings.Compare(p.key, key) })
	if !ok {
		return "", false
	}
	return m.pairs[i].value, true
}

// Len returns the number of entries.
func (m Metadata) Len() int { return len(m.pairs) }

// All yields keys and values in byte order of the keys.
func (m Metadata) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range m.pairs {
			if !yield(p.key, p.value) {
				return
			}
		}
	}
}

// MarshalJSON returns an object of strings, never null.
func (m Metadata) MarshalJSON() ([]byte, error) { return json.Marshal(maps.Collect(m.All())) }

// String returns the entries as fmt prints a map.
func (m Metadata) String() string { return fmt.Sprint(maps.Collect(m.All())) }

func newMetadata(from map[string]string) (Metadata, error) {
	if len(from) > maxMetadata {
		return Metadata{}, invalid("metadata", "%d entries are more than %d", len(from), maxMetadata)
	}
	if len(from) == 0 {
		return Metadata{}, nil
	}
	size, pairs := 0, make([]pair, 0, len(from))
	for k, v := range from {
		if err := checkText("metadata", k, maxMetadataBytes); err != nil {
			return Metadata{}, err
		}
		if err := checkText("metadata", v, maxMetadataBytes); err != nil {
			return Metadata{}, err
		}
		size += len(k) + len(v)
		pairs = append(pairs, pair{k, v})
	}
	if size > maxMetadataBytes {
		return Metadata{}, invalid("metadata", "%d bytes are more than %d", size, maxMetadataBytes)
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return Metadata{pairs}, nil
}
