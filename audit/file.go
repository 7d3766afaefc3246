package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"example.com/keystore"
)

// FileOptions configure OpenFile. A nil *FileOptions means the defaults.
type FileOptions struct {
	// NoSync leaves it to the system when what is written reaches the disk: the
	// events of the last seconds may then be lost with the machine's power, but
	// not by the end of the process. By default each batch is synced.
	NoSync bool
}

// File is an Auditor that appends one line of JSON for each event to a file. It
// is safe for concurrent use. Several processes may append to one file, of a local
// file system; only where one of them has to take back a write that failed may a
// line be lost that another writes at that very moment.
type File struct {
	path string
	sync bool
	open func(path string) (handle, error)

	mu    sync.Mutex
	f     handle // nil once it is closed
	whole bool   // the file ends with a whole line, as far as we wrote it

	// Sizes of the file around a write that failed and was not undone; else equal.
	before, after int64
}

// handle is what File needs of an *os.File.
type handle interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// OpenFile opens a file for appending, and makes it, with mode 0600, if it does
// not exist; its folder must. A last line that a crash has cut off is closed with
// a newline, and stays as it is.
func OpenFile(path string, o *FileOptions) (*File, error) {
	a := &File{path: path, sync: o == nil || !o.NoSync, open: openAppend}
	if err := a.reopen(); err != nil {
		return nil, err
	}
	return a, nil
}

func openAppend(path string) (handle, error) {
	_, err := os.Stat(path)
	f, openErr := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if openErr != nil {
		return nil, openErr
	}
	if errors.Is(err, fs.ErrNotExist) {
		syncFolder(filepath.Dir(path))
	}
	return f, nil
}

// syncFolder makes a new file's name survive a power failure, where the system
// can do that.
func syncFolder(path string) {
	if d, err := os.Open(path); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// Audit writes the events with one write, and syncs the file. After an error it
// takes back what was written of them, so that they stand there once when they
// come again. Where the file cannot be made shorter, because it may only be
// appended to or because another process has written to it meanwhile, a line that
// was cut off is closed with a newline, and those before it come twice.
//
// If the file was renamed or removed, as by logrotate, a new one is made first.
func (a *File) Audit(ctx context.Context, events []keystore.Event) error {
	var lines bytes.Buffer
	to := json.NewEncoder(&lines)
	to.SetEscapeHTML(false)
	for i := range events {
		if err := to.Encode(&events[i]); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return errClosed
	}
	if err := a.follow(); err != nil {
		return err
	}
	if err := a.repair(); err != nil {
		return err
	}
	return a.append(lines.Bytes())
}

// append writes the lines, all or nothing as far as it can.
func (a *File) append(lines []byte) error {
	size, err := a.size()
	if err != nil {
		return err
	}
	n, err := a.f.Write(lines)
	if err == nil && a.sync {
		err = a.f.Sync()
	}
	if err == nil {
		return nil
	}
	a.whole, a.before, a.after = false, size, size+int64(n)
	return errors.Join(fmt.Errorf("audit: %w", err), a.repair())
}

// repair makes the file end with a whole line: it removes what a failed write has
// left; or, of an earlier process or if someone else has written meanwhile, it
// closes the last line.
func (a *File) repair() error {
	if a.whole {
		return nil
	}
	size, err := a.size()
	if err != nil {
		return err
	}
	undone := a.before < a.after && size == a.after && a.f.Truncate(a.before) == nil
	if !undone {
		if err := a.closeLine(size); err != nil {
			return err
		}
	}
	a.whole, a.before, a.after = true, 0, 0
	return nil
}

// closeLine ends the last line of the file, if it has no end.
func (a *File) closeLine(size int64) error {
	if size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := a.f.ReadAt(last, size-1); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if last[0] == '\n' {
		return nil
	}
	if _, err := a.f.Write([]byte("\n")); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

func (a *File) size() (int64, error) {
	info, err := a.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("audit: %w", err)
	}
	return info.Size(), nil
}

// follow opens the file anew if its name stands for another one, or for none.
func (a *File) follow() error {
	ours, err := a.f.Stat()
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	named, err := os.Stat(a.path)
	switch {
	case err == nil && os.SameFile(ours, named):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("audit: %w", err)
	}
	return a.reopen()
}

// Reopen opens the file anew after it was renamed. Audit notices that by itself
// before each write; Reopen lets go of the old file at once. On an error the old
// one stays in use.
func (a *File) Reopen() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return errClosed
	}
	return a.reopen()
}

func (a *File) reopen() error {
	f, err := a.open(a.path)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", a.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("audit: %w", err), f.Close())
	}
	if a.f != nil {
		_ = a.repair() // of the old one, where it still can be
		_ = a.f.Close()
	}
	a.f, a.whole, a.before, a.after = f, false, 0, 0
	return nil
}

// Close closes the file. Close the Keystore before, which delivers its last events
// as it closes. A second Close does nothing.
func (a *File) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return nil
	}
	err := errors.Join(a.repair(), a.f.Sync(), a.f.Close())
	a.f = nil
	return err
}

var errClosed = errors.New("audit: the file is closed")
