//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// closed reports whether standard output was closed when the program began: the
// runtime of Go opens /dev/null in its place, for reading and writing, and so a
// token would be written to nowhere (runtime/fds_unix.go). Daemons do the same to
// their children. A shell's >/dev/null, which is somebody's wish, opens it for
// writing only.
func closed(stream *os.File) bool {
	mode, err := unix.FcntlInt(stream.Fd(), unix.F_GETFL, 0)
	if err != nil || mode&unix.O_ACCMODE != unix.O_RDWR {
		return false
	}
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return false
	}
	info, err := stream.Stat()
	return err == nil && os.SameFile(null, info)
}
