//go:build linux

package audit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/keystore"
)

// A real full disk: what does not fit whole is refused and leaves nothing, and
// when there is room the same events are taken.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	output, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk).CombinedOutput()
	if err != nil {
		t.Skipf("needs a tmpfs of its own, and may not mount one: run it as root, in a container with --cap-add SYS_ADMIN (%v: %s)", err, output)
	}
	t.Cleanup(func() {
		output, err := exec.Command("umount", disk).CombinedOutput()
		assert.NoError(t, err, "%s", output)
	})
	room := filepath.Join(disk, "other")
	require.NoError(t, os.WriteFile(room, make([]byte, 300<<10), 0o600))
	path := filepath.Join(disk, "audit.jsonl")
	f := openFile(t, path, nil)
	var want, batch []keystore.Event
	for n := 0; ; n += 37 {
		require.Less(t, n, 10_000, "the disk never fills up")
		batch = events(n, n+37, 511)
		if err = f.Audit(t.Context(), batch); err != nil {
			break
		}
		want = append(want, batch...)
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.Greater(t, len(want), 500)
	require.Equal(t, want, read(t, path))
	for range 3 {
		require.ErrorIs(t, f.Audit(t.Context(), batch), unix.ENOSPC)
	}
	require.Equal(t, want, read(t, path))

	// A crash has left a cut line, and there is no room to close it.
	require.NoError(t, f.Close())
	tail, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	for err == nil {
		_, err = tail.Write([]byte("{"))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, tail.Close())
	f = openFile(t, path, nil)
	require.ErrorIs(t, f.Audit(t.Context(), batch), unix.ENOSPC)

	require.NoError(t, os.Remove(room))
	require.NoError(t, f.Audit(t.Context(), batch))
	require.NoError(t, f.Close())
	found, bad := readTorn(t, path)
	require.Len(t, bad, 1)
	require.Equal(t, append(want, batch...), found)
}
