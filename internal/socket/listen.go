package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// maxPath is how many bytes the path of a socket may have: 107 on Linux and
// Windows, 103 on the systems of BSD.
var maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

func errTooLong(path string) error {
	return fmt.Errorf("its path has %d bytes, more than the %d that the path of a socket may have", len(path), maxPath)
}

// Listen listens at path. Nobody but the user of this process, and root, can open
// the socket, from the first moment on. A socket that nobody listens at any more is
// replaced; where a server does listen, Listen returns [ErrInUse]. Of two that
// listen there at the very same moment, the later one is reached. To close the
// listener removes the file.
func Listen(path string) (net.Listener, error) {
	if runtime.GOOS == "windows" {
		return nil, fmt.Errorf("socket: a socket that only one user may open is a thing of Unix: %w", errors.ErrUnsupported)
	}
	l, err := listen(path)
	if errors.Is(err, ErrInUse) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("socket: listen: %w", withoutPath(err))
	}
	return l, nil
}

func listen(path string) (net.Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	// Its mode would be open to others until it was changed, in a folder that is.
	private, err := os.MkdirTemp(filepath.Dir(path), ".keystore-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	var inner *net.UnixListener
	err = withShort(made, func(short string) (err error) {
		inner, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	inner.SetUnlinkOnClose(false) // by then it has another name
	l := &listener{UnixListener: inner, path: path}
	if err := l.moveIn(made); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return l, nil
}

// vacant reports whether a server may listen at path.
func vacant(path string) error {
	if err := withShort(path, func(string) error { return nil }); err != nil { // clients could not reach it
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is no socket has this name")
	}
	err = withShort(path, func(short string) error {
		conn, err := net.Dial("unix", short)
		if err == nil {
			err = errors.Join(ErrInUse, conn.Close())
		}
		return err
	})
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EAGAIN): // more clients wait than it accepts
		return ErrInUse
	}
	return err
}

// listener removes its file when it is closed, unless that is another one by then.
type listener struct {
	*net.UnixListener
	path string
	file fs.FileInfo

	once sync.Once
	err  error
}

// moveIn gives the socket its mode and its name.
func (l *listener) moveIn(made string) error {
	err := os.Chmod(made, 0o600)
	if err == nil {
		l.file, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Rename(made, l.path)
	}
	return err
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
			l.err = os.Remove(l.path)
		}
		l.err = errors.Join(l.UnixListener.Close(), l.err)
	})
	return l.err
}
