package inspect

import (
	"fmt"
	"os"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2"
)

// tableFile is a table and what is needed to read it.
type tableFile struct {
	path        string
	key         []byte
	compression options.CompressionType
	old         bool // the MANIFEST lists later ones
}

// tables checks the tables that the MANIFEST lists, and finds out what of the
// others would be lost with them.
func (r *Report) tables(paths []string, listed map[uint64]*pb.ManifestChange, logged map[string]uint64, o Options) {
	var kept, unlisted []tableFile
	highest := uint64(0)
	for id := range listed {
		highest = max(highest, id)
	}
	for _, path := range paths {
		id, ok := table.ParseFileID(base(path))
		if !ok {
			continue
		}
		file := tableFile{path: path}
		change := listed[id]
		switch {
		case change == nil:
			file.key = o.newestKey() // Badger's choice for what it made last
			file.old = id <= highest
			unlisted = append(unlisted, file)
			continue
		case change.Op == pb.ManifestChange_DELETE:
			continue // merged into others
		}
		file.compression = options.CompressionType(change.Compression)
		if file.key = o.Keys[change.KeyId]; file.key == nil && change.KeyId != 0 {
			continue // Badger reports it
		}
		if err := file.read(nil); err != nil {
			r.Tables = append(r.Tables, fmt.Sprintf("the table %s is damaged", base(path)))
			continue
		}
		kept = append(kept, file)
	}
	r.dropped(unlisted, kept, logged, o.Synced)
}

func (o Options) newestKey() []byte {
	newest := uint64(0)
	for id := range o.Keys {
		newest = max(newest, id)
	}
	return o.Keys[newest]
}

// dropped finds out whether tables that Badger will delete, because the MANIFEST
// does not list them, hold anything that is nowhere else. A crash amid a compaction
// or flush leaves tables whose entries are still in the tables or the log that they
// were made from. Where the end of the MANIFEST is lost, they are not.
//
// One that is older than others that are listed may be a table that was merged,
// by a compaction that dropped deleted keys, if the MANIFEST was written anew since
// and names it no more.
func (r *Report) dropped(unlisted, kept []tableFile, logged map[string]uint64, synced bool) {
	wanted, certain := make(map[string]uint64), make(map[string]uint64)
	for _, file := range unlisted {
		err := file.readAs(func(key []byte) {
			note(wanted, key)
			if !file.old {
				note(certain, key)
			}
		})
		if err != nil {
			r.warn("the table %s, which the MANIFEST does not list and which cannot be read, is dropped: it was not finished, or is damaged", base(file.path))
		}
	}
	for name, version := range logged {
		if version >= wanted[name] {
			delete(wanted, name)
		}
	}
	for _, file := range kept {
		if len(wanted) == 0 {
			return
		}
		_ = file.read(func(key []byte) { // it was read before
			if version, ok := wanted[string(y.ParseKey(key))]; ok && y.ParseTs(key) >= version {
				delete(wanted, string(y.ParseKey(key)))
			}
		})
	}
	lost := 0
	for name, version := range wanted {
		if certain[name] == version {
			lost++
		}
	}
	switch {
	case lost > 0 && synced:
		r.damage("the MANIFEST lacks tables: %d keys of the database are newer in tables that it does not list", lost)
	case len(wanted) > 0:
		r.warn("tables that the MANIFEST does not list are dropped: left by a crash, or %d keys are lost with them", len(wanted))
	}
}

// readAs reads a table of which it is not known how it was compressed.
func (f tableFile) readAs(each func(key []byte)) (err error) {
	for _, f.compression = range []options.CompressionType{options.None, options.Snappy, options.ZSTD} {
		if err = f.read(nil); err == nil {
			return f.read(each)
		}
	}
	return err
}

// read checks the index and all blocks of the table, and then calls each, if it is
// not nil, with every key and its version.
func (f tableFile) read(each func(key []byte)) (err error) {
	defer func() { // from Badger's code, at what is not whole
		if p := recover(); p != nil {
			err = fmt.Errorf("table %s: %v", base(f.path), p)
		}
	}()
	data, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	o := &table.Options{Compression: f.compression, BlockSize: 4 << 10}
	if f.key != nil {
		// Badger keeps decrypted indexes nowhere else.
		cache, err := ristretto.NewCache(&ristretto.Config[uint64, *fb.TableIndex]{NumCounters: 100, MaxCost: 1 << 30, BufferItems: 64})
		if err != nil {
			return err
		}
		defer cache.Close()
		o.DataKey, o.IndexCache = &pb.DataKey{Data: f.key}, cache
	}
	t, err := table.OpenInMemoryTable(data, 0, o)
	if err != nil {
		return err
	}
	if err := t.VerifyChecksum(); err != nil || each == nil {
		return err
	}
	it := t.NewIterator(0)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		each(it.Key())
	}
	return nil
}
