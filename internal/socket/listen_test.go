package socket_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := socket.Listen(path)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestOnlyItsUserMayOpenTheSocket(t *testing.T) {
	path := socketPath(t)
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o777))
	l := listen(t, path)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o600, info.Mode())
	require.Equal(t, path, l.Addr().String())
	require.Equal(t, []string{"keystore.sock"}, names(t, filepath.Dir(path)), "nothing else is left")
	require.NoError(t, l.Close())
	require.Empty(t, names(t, filepath.Dir(path)), "the socket goes with the listener")
	require.NoError(t, l.Close())
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func TestListenWhereSomethingIs(t *testing.T) {
	path := socketPath(t)
	first := listen(t, path)
	_, err := socket.Listen(path)
	require.ErrorIs(t, err, socket.ErrInUse)
	conn, err := net.Dial("unix", path) // the one that listens is still there
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, first.Close())

	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false) // like a process that was killed
	require.NoError(t, left.Close())
	_, err = socket.Open(path)
	require.ErrorIs(t, err, socket.ErrNoServer)
	again := listen(t, path)
	conn, err = net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, again.Close())

	for _, make := range []func() error{
		func() error { return os.WriteFile(path, []byte("precious"), 0o600) },
		func() error { return os.Mkdir(path, 0o700) },
		func() error { return os.Symlink("/nowhere", path) },
	} {
		require.NoError(t, make())
		_, err = socket.Listen(path)
		require.ErrorContains(t, err, "no socket has this name")
		require.NotContains(t, err.Error(), path)
		_, err = os.Lstat(path)
		require.NoError(t, err, "it is still there")
		require.NoError(t, os.Remove(path))
	}
	_, err = socket.Listen(filepath.Join(path, "below", "nothing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotContains(t, err.Error(), "below")
}

// TestCloseLeavesTheSocketOfAnother closes a listener whose name another one has
// taken meanwhile.
func TestCloseLeavesTheSocketOfAnother(t *testing.T) {
	path := socketPath(t)
	old := listen(t, path)
	require.NoError(t, os.Remove(path))
	listen(t, path)
	require.NoError(t, old.Close())
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// TestSocketDeepBelow has a path that is longer than the address of a socket.
func TestSocketDeepBelow(t *testing.T) {
	path := filepath.Join(filepath.Dir(socketPath(t)), strings.Repeat("deep-below/", 20), "keystore.sock")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	l, err := socket.Listen(path)
	if runtime.GOOS != "linux" {
		require.ErrorContains(t, err, "the path of a socket may have")
		return
	}
	require.NoError(t, err)
	serveOn(t, l, socket.Handler(memory.New(), nil))
	b := open(t, path)
	require.NoError(t, b.Create(t.Context(), backend.Record{ID: "x", Owner: "o"}))
	_, err = socket.Listen(path)
	require.ErrorIs(t, err, socket.ErrInUse)

	_, err = socket.Listen(filepath.Join(filepath.Dir(path), strings.Repeat("x", 100)))
	require.ErrorContains(t, err, "its path has 100 bytes, more than the 107 that the path of a socket may have")
}

// TestManyListenAtOnce: one of them is reached, and nothing but its socket is left.
func TestManyListenAtOnce(t *testing.T) {
	path := socketPath(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			l, err := socket.Listen(path)
			if err != nil {
				if !errors.Is(err, socket.ErrInUse) {
					t.Error(err)
				}
				return
			}
			t.Cleanup(func() { l.Close() })
		})
	}
	group.Wait()
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, []string{"keystore.sock"}, names(t, filepath.Dir(path)))
}
