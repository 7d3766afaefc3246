package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// manifest says of every table that the MANIFEST names whether it is a part of the
// database; false are those that were merged into others.
//
// The file is, after 8 bytes, records of a length and a CRC-32C, 4 bytes each, and
// that many bytes of protobuf. For one that cannot be read, listed is nil: Badger
// reports it.
func (r *Report) manifest(path string) (listed map[uint64]bool, err error) {
	const magic, head = 8, 8
	file, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[uint64]bool{}, nil
	}
	if err != nil || len(file) < magic {
		return nil, err
	}
	listed = make(map[uint64]bool)
	rest := file[magic:]
	for len(rest) >= head {
		length := binary.BigEndian.Uint32(rest)
		if uint64(length) > uint64(len(rest)-head) {
			break
		}
		body := rest[head : head+length]
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(rest[4:]) {
			return nil, nil
		}
		var set pb.ManifestChangeSet
		if err := proto.Unmarshal(body, &set); err != nil {
			return nil, nil
		}
		for _, change := range set.Changes {
			listed[change.Id] = change.Op == pb.ManifestChange_CREATE
		}
		rest = rest[head+length:]
	}
	if len(rest) > 0 {
		r.warn("the end of the MANIFEST is cut off: a record that a crash interrupted, or damage")
	}
	return listed, nil
}

// unlisted finds out whether tables that Badger will delete, because the MANIFEST
// does not list them, hold anything that is nowhere else. A crash amid a compaction
// or flush leaves tables whose entries are still in the tables or the log that they
// were made from. Where the end of the MANIFEST is lost, they are not.
func (r *Report) unlisted(paths []string, listed map[uint64]bool, newest map[string]uint64, o Options) {
	if listed == nil {
		return
	}
	var kept, unknown []string
	for _, path := range paths {
		id, ok := table.ParseFileID(filepath.Base(path))
		if !ok {
			continue
		}
		switch part, named := listed[id]; {
		case part:
			kept = append(kept, path)
		case !named:
			unknown = append(unknown, path)
		}
	}
	if len(unknown) == 0 {
		return
	}
	if o.Encrypted {
		r.warn("%d tables that the MANIFEST does not list are dropped: left by a crash, or the end of the MANIFEST is lost", len(unknown))
		return
	}
	wanted := make(map[string]uint64)
	for _, path := range unknown {
		if err := versions(path, func(key []byte) { note(wanted, key) }); err != nil {
			r.warn("the table %s, which the MANIFEST does not list and which cannot be read, is dropped: it was not finished, or is damaged", filepath.Base(path))
		}
	}
	for name, version := range newest {
		if version >= wanted[name] {
			delete(wanted, name)
		}
	}
	for _, path := range kept {
		if len(wanted) == 0 {
			return
		}
		err := versions(path, func(key []byte) {
			if version, ok := wanted[string(y.ParseKey(key))]; ok && y.ParseTs(key) >= version {
				delete(wanted, string(y.ParseKey(key)))
			}
		})
		if err != nil {
			return // Badger reports it
		}
	}
	if len(wanted) > 0 {
		r.damage("the MANIFEST lacks tables: %d keys of the database are newer in tables that it does not list", len(wanted))
	}
}

// versions calls fn with every key, and its version, of the table at path.
func versions(path string, fn func(key []byte)) (err error) {
	defer func() { // from Badger's code, at a table that is not whole
		if p := recover(); p != nil {
			err = fmt.Errorf("table %s: %v", filepath.Base(path), p)
		}
	}()
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	t, err := table.OpenInMemoryTable(file, 0, &table.Options{}) // which keeps it as it is
	if err != nil {
		return err
	}
	if err := t.VerifyChecksum(); err != nil {
		return err
	}
	it := t.NewIterator(0)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		fn(it.Key())
	}
	return nil
}
