//go:build windows || plan9 || js || wasip1 || aix

package badger

import (
	"os"
	"path/filepath"
	"runtime"
)

// tryLock returns a *LockedError if the folder is in use, as far as that can be
// told: on Windows Badger's file LOCK is there as long as a process holds it
// (dir_windows.go). It locks nothing.
func tryLock(dir string) (free func(), err error) {
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err == nil && runtime.GOOS == "windows" {
		return nil, &LockedError{PID: holder(dir)}
	}
	return func() {}, nil
}
