package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// LockedError means that the folder is open already.
type LockedError struct {
	// PID is the process that said last that it holds the folder, as its own
	// PID namespace numbers it; 0 if unknown.
	PID int
}

// Error implements error.
func (e *LockedError) Error() string {
	switch e.PID {
	case 0:
		return "badger: the folder is open in another process; only one at a time may use it"
	case os.Getpid():
		return "badger: this process has the folder open already; open it once and share the handle"
	}
	return fmt.Sprintf("badger: the folder is open in another process, perhaps the one with pid %d; only one at a time may use it: end that one, or use another folder", e.PID)
}

// lockedError returns what err is if Badger found dir locked, else nil. Badger
// has no sentinel for it, and its errors do not wrap (v4.9.6, dir_unix.go,
// dir_windows.go, y/error.go), so the text has to tell. Its error number tells
// a lock that is taken from one that the file system cannot do.
func lockedError(err error, dir string) error {
	text := err.Error()
	if !strings.Contains(text, "Another process is using this Badger database") {
		return nil
	}
	if runtime.GOOS != "windows" && !strings.Contains(text, syscall.EWOULDBLOCK.Error()) {
		return nil
	}
	return &LockedError{PID: holder(dir)}
}

// lockedBy is for a lock on dir that is taken, be it by a process that has it open,
// which says so in a file, or by one that is about to, which has not said so yet.
// The file may then be that of a process which was killed, or of this one.
func lockedBy(dir string) *LockedError {
	pid := holder(dir)
	if pid == 0 {
		return &LockedError{}
	}
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(syscall.Signal(0)) // is it there?
	}
	if err != nil && !errors.Is(err, os.ErrPermission) {
		pid = 0
	}
	return &LockedError{PID: pid}
}

// holder reads the pid that the process which opened dir last has left there.
func holder(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "LOCK"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
