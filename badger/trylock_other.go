//go:build windows || plan9 || js || wasip1 || aix

package badger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// tryLock reports an error if the folder is in use: Badger's file LOCK is there as
// long as a process holds it (dir_windows.go, dir_other.go). It locks nothing.
func tryLock(dir string) (free func(), err error) {
	_, err = os.Stat(filepath.Join(dir, "LOCK"))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	return nil, errors.Join(err, errors.New("the folder is in use"))
}
