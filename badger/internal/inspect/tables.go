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
	for id, change := range listed {
		if change.Op == pb.ManifestChange_CREATE { // ids above the highest of these are given again
			highest = max(highest, id)
		}
	}
	for _, path := range paths {
		id, ok := table.ParseFileID(base(path))
		if !ok {
			continue
		}
		file := tableFile{path: path}
		change := listed[id]
		if change == nil || change.Op == pb.ManifestChange_DELETE {
			file.key = o.newestKey() // Badger's choice for what it made last
			file.old = change != nil || id <= highest
			unlisted = append(unlisted, file)
			continue
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
// One that is older than others that are listed, or was listed once, may be a table
// that was merged by a compaction that dropped deleted keys: what it holds alone
// is a warning.
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
	found := func(name string, version uint64) {
		for _, missing := range []map[string]uint64{wanted, certain} {
			if v, ok := missing[name]; ok && version >= v {
				delete(missing, name)
			}
		}
	}
	for name, version := range logged {
		found(name, version)
	}
	for _, file := range kept {
		if len(wanted)+len(certain) == 0 {
			return
		}
		_ = file.read(func(key []byte) { found(string(y.ParseKey(key)), y.ParseTs(key)) }) // it was read before
	}
	switch {
	case len(certain) > 0 && synced:
		r.damage("the MANIFEST lacks tables: %d keys of the database are newer in tables that it does not list", len(certain))
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
