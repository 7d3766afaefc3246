package audit

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestEventsRoundTrip(t *testing.T) {
	path := somewhere(t)
	f := openFile(t, path, nil)
	want := []keystore.Event{
		event(0, 0),
		{Time: noon, Action: keystore.ActionLookup, Outcome: keystore.OutcomeRefused, Reason: keystore.ReasonMalformed, Count: 1 << 40},
		{
			Time: noon, Action: keystore.ActionPurge, Outcome: keystore.OutcomeUnknown, Owner: "a\n{\"b\"}\x00\u2028<&>\U0001F511",
			Actor: "\r\n\x1b[31m", RequestID: strings.Repeat("\x01", 256), Detail: `\"`, Generation: 1 << 30, Revision: 1<<64 - 1, Count: 0,
		},
	}
	require.NoError(t, f.Audit(t.Context(), want[:2]))
	require.NoError(t, f.Audit(t.Context(), want[2:]))
	require.NoError(t, f.Audit(t.Context(), nil))
	require.NoError(t, f.Close())
	require.NoError(t, f.Close(), "again")
	require.Equal(t, want, read(t, path))
	require.Error(t, f.Audit(t.Context(), want), "closed")
	require.Error(t, f.Reopen())
	require.Len(t, read(t, path), len(want))

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, len(want), strings.Count(string(text), "\n"), "what an event holds makes no lines")
	require.Contains(t, string(text), `{"time":"2026-11-23T12:00:00.123Z","action":"revoke","outcome":"done","key_id":"0QWvfqEE7rFhHD1a","owner":"alice","generation":1,"count":1}`)
}

func TestFileIsOnlyItsOwners(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	path := somewhere(t)
	openFile(t, path, nil)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"", dir, filepath.Join(dir, "missing", "audit.jsonl"), os.DevNull} {
		_, err := OpenFile(path, nil)
		require.Error(t, err, path)
	}
}

func TestAnotherRunAppends(t *testing.T) {
	path := somewhere(t)
	for run := range 3 {
		f := openFile(t, path, &FileOptions{NoSync: run == 1})
		require.NoError(t, f.Audit(t.Context(), events(2*run, 2*run+2, 0)))
		require.NoError(t, f.Close())
	}
	require.Equal(t, events(0, 6, 0), read(t, path))
}

// A crash may have cut the last line anywhere. The next event has a line of its
// own, and only the cut one is lost.
func TestTornLineIsClosed(t *testing.T) {
	path := somewhere(t)
	f := openFile(t, path, nil)
	require.NoError(t, f.Audit(t.Context(), events(0, 2, 0)))
	require.NoError(t, f.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	first := strings.IndexByte(string(whole), '\n') + 1
	for cut := first; cut < len(whole); cut++ {
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		f := openFile(t, path, &FileOptions{NoSync: true})
		require.NoError(t, f.Audit(t.Context(), events(2, 3, 0)))
		require.NoError(t, f.Close())
		found, bad := readTorn(t, path)
		want := []keystore.Event{event(0, 0), event(2, 0)}
		switch cut {
		case first:
			require.Empty(t, bad)
		case len(whole) - 1: // only the newline was missing
			want = events(0, 3, 0)
			require.Empty(t, bad)
		default:
			require.Len(t, bad, 1)
			require.ErrorContains(t, bad[0], "line 2 ")
		}
		require.Equal(t, want, found, "cut at %d", cut)
	}
}

// A write that fails in the middle leaves nothing behind, so that the same events
// can come again.
func TestFailedWriteIsUndone(t *testing.T) {
	path := somewhere(t)
	f, under := openFaulty(t, path)
	require.NoError(t, f.Audit(t.Context(), events(0, 2, 0)))
	batch := events(2, 5, 0)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for short := range 600 {
		under.short = short
		require.ErrorIs(t, f.Audit(t.Context(), batch), errDisk)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(before), string(after), "after %d bytes", short)
	}
	under.sync = errDisk
	require.ErrorIs(t, f.Audit(t.Context(), batch), errDisk, "written, and perhaps not on the disk")
	require.NoError(t, f.Audit(t.Context(), batch))
	require.Equal(t, events(0, 5, 0), read(t, path))
}

// Where not even truncating works, lines stay whole, and none is lost; those that
// got through come twice.
func TestFailedWriteThatCannotBeUndone(t *testing.T) {
	line := len(`{"time":"2026-11-23T12:00:00.125Z","action":"revoke","outcome":"done","key_id":"0QWvfqEE7rFhHD1a","owner":"alice","generation":1,"revision":2,"count":1}`) + 1
	for short, doubled := range map[int]int{0: 0, 1: 0, line - 2: 0, line - 1: 1, line: 1, line + 9: 1, 2 * line: 2} {
		path := somewhere(t)
		f, under := openFaulty(t, path)
		under.truncate = errDisk
		require.NoError(t, f.Audit(t.Context(), events(0, 2, 0)))
		under.short = short
		require.ErrorIs(t, f.Audit(t.Context(), events(2, 5, 0)), errDisk)
		require.NoError(t, f.Audit(t.Context(), events(2, 5, 0)))
		found, bad := readTorn(t, path)
		require.LessOrEqual(t, len(bad), 1)
		require.Equal(t, append(events(0, 2+doubled, 0), events(2, 5, 0)...), found, "after %d bytes", short)
	}
}

// Another process has written behind a failed write: nothing of its lines goes.
func TestFailedWriteIsNotUndoneOverOthers(t *testing.T) {
	path := somewhere(t)
	f, under := openFaulty(t, path)
	under.short, under.truncate = 10, errDisk
	require.ErrorIs(t, f.Audit(t.Context(), events(0, 1, 0)), errDisk)
	other := openFile(t, path, nil)
	require.NoError(t, other.Audit(t.Context(), events(7, 9, 0)))
	under.truncate = nil
	require.NoError(t, f.Audit(t.Context(), events(0, 1, 0)))
	found, bad := readTorn(t, path)
	require.Len(t, bad, 1)
	require.Equal(t, []keystore.Event{event(7, 0), event(8, 0), event(0, 0)}, found)
}

// logrotate's copytruncate makes the file shorter under our feet.
func TestTruncatedByOthers(t *testing.T) {
	path := somewhere(t)
	f, under := openFaulty(t, path)
	require.NoError(t, f.Audit(t.Context(), events(0, 9, 0)))
	require.NoError(t, os.Truncate(path, 0))
	require.NoError(t, f.Audit(t.Context(), events(9, 10, 0)))
	require.Equal(t, events(9, 10, 0), read(t, path), "without a hole")
	under.short, under.truncate = 5, errDisk
	require.ErrorIs(t, f.Audit(t.Context(), events(10, 11, 0)), errDisk)
	require.NoError(t, os.Truncate(path, 0))
	under.truncate = nil
	require.NoError(t, f.Audit(t.Context(), events(10, 11, 0)))
	require.Equal(t, events(10, 11, 0), read(t, path))
}

func TestRenamedOrRemovedFileIsMadeAnew(t *testing.T) {
	path := somewhere(t)
	f := openFile(t, path, nil)
	require.NoError(t, f.Audit(t.Context(), events(0, 2, 0)))
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, f.Audit(t.Context(), events(2, 4, 0)))
	require.NoError(t, os.Remove(path))
	require.NoError(t, f.Audit(t.Context(), events(4, 6, 0)))
	require.NoError(t, os.Rename(path, path+".2"))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, f.Audit(t.Context(), events(6, 7, 0)))
	require.NoError(t, os.Rename(path, path+".3"))
	require.NoError(t, f.Reopen())
	require.FileExists(t, path)
	require.NoError(t, f.Audit(t.Context(), events(7, 8, 0)))
	for name, want := range map[string][]keystore.Event{
		path + ".1": events(0, 2, 0), path + ".2": events(4, 6, 0), path + ".3": events(6, 7, 0), path: events(7, 8, 0),
	} {
		require.Equal(t, want, read(t, name), name)
	}
}

// A file that is renamed while a failed write is in it leaves no torn line behind.
func TestRenamedFileIsRepaired(t *testing.T) {
	path := somewhere(t)
	f, under := openFaulty(t, path)
	require.NoError(t, f.Audit(t.Context(), events(0, 2, 0)))
	under.short, under.truncate, under.read = 10, errDisk, errDisk
	require.ErrorIs(t, f.Audit(t.Context(), events(2, 4, 0)), errDisk)
	under.truncate, under.read = nil, nil
	_, bad := readTorn(t, path)
	require.Len(t, bad, 1)
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, f.Audit(t.Context(), events(2, 4, 0)))
	require.Equal(t, events(0, 2, 0), read(t, path+".1"))
	require.Equal(t, events(2, 4, 0), read(t, path))
}

func TestFileThatCannotBeMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	require.NoError(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "audit.jsonl")
	f := openFile(t, path, nil)
	require.NoError(t, f.Audit(t.Context(), events(0, 1, 0)))
	require.NoError(t, os.Rename(dir, dir+".old"))
	require.Error(t, f.Audit(t.Context(), events(1, 2, 0)), "the folder is gone")
	require.Error(t, f.Reopen())
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, f.Audit(t.Context(), events(1, 2, 0)))
	require.Equal(t, events(0, 1, 0), read(t, filepath.Join(dir+".old", "audit.jsonl")))
	require.Equal(t, events(1, 2, 0), read(t, path))
}

func TestEndedContextWritesNothing(t *testing.T) {
	path := somewhere(t)
	f := openFile(t, path, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Audit(ctx, events(0, 1, 0)), context.Canceled)
	require.Empty(t, read(t, path))
}

func TestFileByManyGoroutines(t *testing.T) {
	path := somewhere(t)
	f := openFile(t, path, &FileOptions{NoSync: true})
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for n := range 50 {
				if err := f.Audit(context.Background(), events(3*n, 3*n+3, 100)); err != nil {
					t.Error(err)
				}
				if n%10 == 0 {
					if err := f.Reopen(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	working.Wait()
	found := read(t, path)
	require.Len(t, found, 8*50*3)
	for i := 0; i < len(found); i += 3 {
		require.Equal(t, found[i].Revision+2, found[i+2].Revision, "a batch stays together")
	}
}

// Several processes begin with a file that is new, as after a rotation: none takes
// away what another has written.
func TestNewFileOfSeveral(t *testing.T) {
	for range 100 {
		path := somewhere(t)
		var writing sync.WaitGroup
		for n := range 4 {
			f := openFile(t, path, &FileOptions{NoSync: true})
			writing.Go(func() {
				if err := f.Audit(context.Background(), events(n, n+1, 0)); err != nil {
					t.Error(err)
				}
			})
		}
		writing.Wait()
		require.Len(t, read(t, path), 4)
	}
}
