// Package inspect reads the files of a closed Badger database for what Badger
// itself passes over in silence when it opens one (v4.9.6):
//
//   - a log is replayed up to the first entry that cannot be read. What follows is
//     cut off, be it half a transaction that a crash interrupted or thousands of
//     whole ones behind a damaged byte (memtable.go, logFile.iterate);
//   - a MANIFEST that ends amid a record is taken for complete (manifest.go,
//     ReplayManifestFile), and one that is missing for an empty one;
//   - tables that the MANIFEST does not list are deleted (levels.go,
//     revertToManifest), be they the leavings of an interrupted compaction or all
//     the data there is.
//
// Either may undo a revocation that was synced. Other damage Badger finds by its
// checksums.
package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Options say what is known of the database.
type Options struct {
	Synced    bool  // every transaction was synced before the next: only the last can be there in part
	Encrypted bool  // keys and tables cannot be read
	LogSize   int64 // at which logs are made
}

// Report is what was found.
type Report struct {
	Damage   []string // acknowledged changes are lost
	Warnings []string // something was cut off; acknowledged changes may be among it
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
		switch path := filepath.Join(dir, f.Name()); {
		case f.IsDir():
		case strings.HasSuffix(f.Name(), ".mem"):
			logs = append(logs, path)
		case strings.HasSuffix(f.Name(), ".sst"):
			tables = append(tables, path)
		}
	}
	logged, err := r.logs(logs, o)
	if err != nil {
		return r, err
	}
	listed, err := r.manifest(filepath.Join(dir, "MANIFEST"))
	if err != nil {
		return r, err
	}
	r.unlisted(tables, listed, logged, o)
	return r, nil
}
