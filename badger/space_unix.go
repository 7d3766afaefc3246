//go:build linux || darwin || freebsd

package badger

import (
	"math"

	"golang.org/x/sys/unix"
)

// freeSpace returns how many bytes an unprivileged process may still write to
// the file system that holds dir.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		break
	}
	// The types differ between systems.
	blocks, size := int64(st.Bavail), int64(st.Bsize)
	if blocks > math.MaxInt64/max(size, 1) {
		return math.MaxInt64, nil
	}
	return blocks * size, nil
}
