package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123e6, time.UTC)

// event is the nth of a test, with a detail of some length.
func event(n, length int) keystore.Event {
	return keystore.Event{
		Time: noon.Add(time.Duration(n) * time.Millisecond), Action: keystore.ActionRevoke, Outcome: keystore.OutcomeDone,
		KeyID: "0QWvfqEE7rFhHD1a", Owner: "alice", Generation: 1, Revision: uint64(n), Count: 1, Detail: strings.Repeat("d", length),
	}
}

func events(from, to, length int) (batch []keystore.Event) {
	for n := from; n < to; n++ {
		batch = append(batch, event(n, length))
	}
	return batch
}

func openFile(t *testing.T, path string, o *FileOptions) *File {
	t.Helper()
	f, err := OpenFile(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func somewhere(t *testing.T) string { return filepath.Join(t.TempDir(), "audit.jsonl") }

// read returns what a file holds; a line that is no event fails the test.
func read(t *testing.T, path string) []keystore.Event {
	t.Helper()
	found, bad := readTorn(t, path)
	require.Empty(t, bad)
	return found
}

// readTorn returns the events of a file, and the errors for its other lines.
func readTorn(t *testing.T, path string) (found []keystore.Event, bad []error) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for e, err := range Read(bytes.NewReader(text)) {
		if err != nil {
			require.ErrorIs(t, err, ErrLine)
			bad = append(bad, err)
			continue
		}
		found = append(found, e)
	}
	return found, bad
}

var errDisk = errors.New("the disk fails")

// faultyFile is a file whose calls fail as the test says.
type faultyFile struct {
	*os.File
	short    int   // if not negative, the next write writes so many bytes and fails
	sync     error // of the next Sync
	truncate error // of each Truncate
	read     error // of each ReadAt
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if f.short < 0 {
		return f.File.Write(p)
	}
	n, err := f.File.Write(p[:min(f.short, len(p))])
	f.short = -1
	return n, errors.Join(errDisk, err)
}

func (f *faultyFile) ReadAt(p []byte, at int64) (int, error) {
	if f.read != nil {
		return 0, f.read
	}
	return f.File.ReadAt(p, at)
}

func (f *faultyFile) Sync() error {
	err := f.sync
	f.sync = nil
	return errors.Join(err, f.File.Sync())
}

func (f *faultyFile) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.File.Truncate(size)
}

// openFaulty opens a file and returns the handle that its calls go through.
func openFaulty(t *testing.T, path string) (*File, *faultyFile) {
	t.Helper()
	var under *faultyFile
	a := &File{path: path, sync: true, open: func(path string) (handle, error) {
		f, err := openAppend(path)
		if err != nil {
			return nil, err
		}
		under = &faultyFile{File: f.(*os.File), short: -1}
		return under, nil
	}}
	require.NoError(t, a.reopen())
	t.Cleanup(func() { a.Close() })
	return a, under
}
