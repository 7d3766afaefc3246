package socket

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// withShort calls use with a path of the same file that fits into a socket's
// address (unix(7): 108 bytes with the NUL): folders of a program lie deeper.
func withShort(path string, use func(short string) error) error {
	if len(path) <= maxPath {
		return use(path)
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	short := fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path))
	if len(short) > maxPath {
		return errTooLong(filepath.Base(path))
	}
	return use(short)
}
