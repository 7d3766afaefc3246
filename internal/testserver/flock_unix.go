//go:build !windows && !plan9 && !js && !wasip1 && !aix

package testserver

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock waits for the lock of a file, which is free again when the file is closed. It
// does nothing where files cannot be locked.
func flock(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_EX) }
