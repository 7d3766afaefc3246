// Package inspect reads the files of a closed Badger database for what Badger
// itself passes over in silence when it opens one, or cannot cope with (v4.9.6):
//
//   - a log is replayed up to the first entry that cannot be read. What follows is
//     cut off, be it half a transaction that a crash interrupted or thousands of
//     whole ones behind a damaged byte (memtable.go, logFile.iterate);
//   - the header of an encrypted log has no checksum. With a wrong one all of the
//     log decrypts to nonsense, and is cut off;
//   - a MANIFEST that ends amid a record is taken for complete (manifest.go,
//     ReplayManifestFile), and one that is missing for an empty one;
//   - tables that the MANIFEST does not list are deleted (levels.go,
//     revertToManifest), be they the leavings of an interrupted compaction or all
//     the data there is;
//   - a damaged table makes Badger panic on a goroutine of its own, which ends the
//     process; until it has, the database is open without the table (levels.go,
//     newLevelsController);
//   - a log that is empty, as a crash amid its removal leaves it, is an error the
//     first time and a new log the second (memtable.go, openMemTables).
//
// Several of these may undo a revocation that was synced. What is left, Badger
// finds by its checksums.
package inspect

import (
	"fmt"
	"os"
	"path/filepath"
)

// Options say what is known of the database.
type Options struct {
	Synced  bool              // every transaction was synced before the next: only the last can be there in part
	LogSize int64             // at which logs are made
	Keys    map[uint64][]byte // the data keys of an encrypted database by their ids
}

// Report is what was found.
type Report struct {
	Damage   []string // acknowledged changes are lost
	Tables   []string // damaged tables, of which Badger ends the process
	Warnings []string // something was cut off; acknowledged changes may be among it
	Empty    []string // paths of files that must be removed, or Badger does not open at the first attempt
}

func (r *Report) damage(format string, args ...any) {
	r.Damage = append(r.Damage, fmt.Sprintf(format, args...))
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Folder inspects the database in dir, which must not be in use. It changes
// nothing. Texts name files without their folder. A folder without a database
// has no faults; an error is one of reading.
func Folder(dir string, o Options) (Report, error) {
	var r Report
	files, err := os.ReadDir(dir)
	if err != nil {
		return r, err
	}
	var logs, tables []string
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return r, err
		}
		path := filepath.Join(dir, f.Name())
		switch filepath.Ext(f.Name()) {
		case ".mem":
			if info.Size() == 0 {
				r.warn("the log %s is empty: a crash interrupted its removal, or its content is lost", f.Name())
				r.Empty = append(r.Empty, path)
				continue
			}
			logs = append(logs, path)
		case ".vlog": // holds nothing of ours; only its removal leaves it empty
			if info.Size() == 0 {
				r.Empty = append(r.Empty, path)
			}
		case ".sst":
			tables = append(tables, path)
		}
	}
	logged, err := r.logs(logs, o)
	if err != nil {
		return r, err
	}
	listed, err := r.manifest(filepath.Join(dir, "MANIFEST"))
	if err != nil || listed == nil {
		return r, err
	}
	r.tables(tables, listed, logged, o)
	return r, nil
}

// base is the name of a file for the texts of a report.
func base(path string) string { return filepath.Base(path) }
