//go:build windows || plan9 || js || wasip1 || aix

package badger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// tryLock returns a *LockedError if the folder is in use, as far as that can be
// told: on Windows nobody else can open Badger's file LOCK while a process holds it
// (dir_windows.go). It locks nothing.
func tryLock(dir string) (free func(), err error) {
	f, err := os.Open(filepath.Join(dir, "LOCK"))
	if err == nil { // left behind
		_ = f.Close()
	} else if !errors.Is(err, fs.ErrNotExist) && runtime.GOOS == "windows" {
		return nil, &LockedError{}
	}
	return func() {}, nil
}
