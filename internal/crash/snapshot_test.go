package crash

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// snapshot is a copy of a store's folder.
type snapshot map[string]image

// image is a file: its content up to the last byte that is not zero, and its size.
type image struct {
	content []byte
	size    int64
}

func snapshotOf(t *testing.T, dir string) snapshot {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	s := make(snapshot)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		require.NoError(t, err)
		s[file.Name()] = image{bytes.Clone(bytes.TrimRight(content, "\x00")), int64(len(content))}
	}
	return s
}

// kindsOf groups the names of the files by what they are.
func (s snapshot) kindsOf() map[string][]string {
	byKind := make(map[string][]string)
	for _, name := range slices.Sorted(maps.Keys(s)) {
		kind := name
		if ext := filepath.Ext(name); ext != "" {
			kind = "*" + ext
		}
		if name != "LOCK" { // which says who holds the folder, and nothing else
			byKind[kind] = append(byKind[kind], name)
		}
	}
	return byKind
}

// write makes a folder of it, with one file damaged.
func (s snapshot) write(t *testing.T, dir, name string, d damage) {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o700))
	for other, file := range s {
		if other == name {
			file = d.do(file)
		}
		path := filepath.Join(dir, other)
		require.NoError(t, os.WriteFile(path, file.content, 0o600))
		require.NoError(t, os.Truncate(path, file.size))
	}
}

// damage is what happens to one file.
type damage struct {
	kind  string // one of the damages
	place string // in words
	at    int64
	bit   int // of a flip
}

const (
	cut     = "cut off"
	flip    = "a bit flipped"
	zeroed  = "512 bytes zeroed"
	garbled = "64 bytes garbled"
)

func (d damage) String() string { return fmt.Sprintf("%s, %s (at %d)", d.kind, d.place, d.at) }

// do returns the damaged file.
func (d damage) do(f image) image {
	if d.kind == cut {
		return image{f.content[:min(d.at, int64(len(f.content)))], d.at}
	}
	changed := bytes.Clone(f.content)
	length := int64(map[string]int{flip: 1, zeroed: 512, garbled: 64}[d.kind])
	end := min(d.at+length, f.size)
	changed = append(changed, make([]byte, max(0, end-int64(len(changed))))...)
	for i := d.at; i < end; i++ {
		switch d.kind {
		case flip:
			changed[i] ^= 1 << d.bit
		case zeroed:
			changed[i] = 0
		case garbled:
			changed[i] ^= byte(i*31 + 7)
		}
	}
	return image{changed, f.size}
}
