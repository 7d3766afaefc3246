package socket_test

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/keystore/backend"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

// TestAServerOfAnotherUser has taken the name of the socket in a folder where
// everybody may make files. It is believed only in a folder of its own.
func TestAServerOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can listen as another user")
	}
	const nobody = 65534
	path := socketPath(t)
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o777|os.ModeSticky))
	l, err := listenAs(nobody, path)
	require.NoError(t, err)
	serveOn(t, l, socket.Handler(memory.New(), nil))

	_, err = socket.Open(path)
	require.ErrorContains(t, err, "another user serves there")
	require.ErrorIs(t, err, backend.ErrNotApplied)
	require.NotErrorIs(t, err, socket.ErrNoServer)
	require.NotContains(t, err.Error(), path)

	require.NoError(t, os.Chown(filepath.Dir(path), nobody, -1))
	open(t, path)
}

// listenAs listens on a thread that has become another user, and ends with it.
func listenAs(uid int, path string) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, number := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); number != 0 {
			err = number
			return
		}
		l, err = net.Listen("unix", path)
	}()
	<-done
	return l, err
}
