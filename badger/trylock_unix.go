//go:build !windows && !plan9 && !js && !wasip1 && !aix

package badger

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock that Badger takes on a folder (dir_unix.go), until free is
// called. If another has it, the error is a *LockedError.
func tryLock(dir string) (free func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(lockedBy(dir), f.Close())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		// A child that is being forked has the file too, until it runs.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		_ = f.Close()
	}, nil
}
