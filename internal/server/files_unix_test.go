//go:build unix

package server

import (
	"syscall"
	"testing"
)

// needFiles raises how many files this process may have open, or skips the test.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Skipf("the limit of open files cannot be read: %v", err)
	}
	if uint64(limit.Cur) >= n { //nolint:unconvert // the types differ by system
		return
	}
	if uint64(limit.Max) < n { //nolint:unconvert // see above
		t.Skipf("the test needs %d open files, and the hard limit is %d: raise it with ulimit -Hn", n, limit.Max)
	}
	raised := limit
	raised.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		t.Skipf("the limit of open files cannot be raised: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) })
}
