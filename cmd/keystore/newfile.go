package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// pendingFile is a file that appears under its name when it is complete, and
// never in place of another.
type pendingFile struct {
	*os.File // under a name of its own, of mode 0600
	path     string
}

const fileExists = "backup file: it exists; a backup is written to a new file"

func newFile(path string) (*pendingFile, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, failedf(fileExists)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keystore-backup-*")
	if err != nil {
		return nil, fileError("backup file", err)
	}
	return &pendingFile{f, path}, nil
}

// finish gives the file its name.
func (p *pendingFile) finish() error {
	err := p.Sync()
	if closing := p.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = nameNew(p.Name(), p.path)
	}
	if errors.Is(err, fs.ErrExist) {
		return failedf(fileExists)
	}
	if err != nil {
		return fileError("backup file", err)
	}
	syncFolder(filepath.Dir(p.path))
	return nil
}

// nameNew gives the file at temp the name path, unless that is taken.
func nameNew(temp, path string) error {
	err := os.Link(temp, path) // the second name is taken or given in one step
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return claimName(temp, path)
}

// claimName is nameNew for file systems without hard links, such as that of most
// USB sticks: it claims the name with an empty file and replaces that. A crash
// between the two leaves the empty file, which restore refuses.
func claimName(temp, path string) error {
	claim, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_ = claim.Close() // nothing was written
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(path)
		return err
	}
	return nil
}

// syncFolder makes a new name survive a power failure, where the system can.
func syncFolder(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		_ = f.Close()
	}
}

// discard removes what is left of the file under its first name.
func (p *pendingFile) discard() {
	_ = p.Close()
	_ = os.Remove(p.Name())
}
