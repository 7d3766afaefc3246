package inspect

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/y"
)

// A log is, after a header of 20 bytes, entries
//
//	meta, user meta (1 byte each), length of key, length of value, expiry (varints),
//	key with its version, value, CRC-32C of all that
//
// and zeros up to the size at which it was made. The entries of a transaction
// follow each other, and its last one says that it is complete (structs.go).
const (
	logHeader   = 20
	metaInTxn   = 1 << 6
	metaEndsTxn = 1 << 7
	maxKey      = 1 << 16
	versionLen  = 8 // at the end of every key
)

// entry is one entry of a log.
type entry struct {
	meta byte
	key  []byte
	size int
}

// completes reports whether the entry ends a transaction, or is one by itself.
func (e entry) completes() bool { return e.meta&metaInTxn == 0 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readEntry reads the entry that b begins with, if there is a whole one.
func readEntry(b []byte) (entry, bool) {
	if len(b) < 2 {
		return entry{}, false
	}
	at := 2
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(b[at:])
		if n <= 0 {
			return entry{}, false
		}
		fields[i], at = v, at+n
	}
	keyLen, valueLen, left := fields[0], fields[1], uint64(len(b)-at)
	if keyLen < versionLen || keyLen > maxKey || valueLen > left || keyLen+valueLen+crc32.Size > left {
		return entry{}, false
	}
	end := at + int(keyLen+valueLen)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return entry{}, false
	}
	return entry{meta: b[0], key: b[at : at+int(keyLen)], size: end + crc32.Size}, true
}

// replay is what Badger makes of a log, and what it cuts off.
type replay struct {
	entries []entry // of complete transactions
	rest    bool    // something is cut off
	behind  int     // ends of transactions among that, 2 meaning 2 or more
	other   bool    // one of them is not the end of the transaction that was cut
}

func replayLog(log []byte, encrypted bool) (r replay) {
	if len(log) < logHeader {
		r.rest = len(log) > 0
		return r
	}
	var open []entry // of the transaction that is being read
	at := logHeader
	for {
		e, ok := readEntry(log[at:])
		if !ok || len(open) > 0 && e.meta&(metaInTxn|metaEndsTxn) == 0 {
			break
		}
		at += e.size
		if open = append(open, e); e.completes() {
			r.entries, open = append(r.entries, open...), nil
		}
	}
	rest := bytes.TrimRight(log[at:], "\x00")
	r.rest = len(open) > 0 || len(rest) > 0
	for i := 0; i < len(rest) && r.behind < 2; {
		e, ok := readEntry(rest[i:])
		if !ok {
			i++
			continue
		}
		i += e.size
		if e.completes() {
			r.behind++
			r.other = r.other || !encrypted && len(open) > 0 && y.ParseTs(e.key) != y.ParseTs(open[0].key)
		}
	}
	return r
}

// damaged reports whether more is cut off than the last transaction: that is the
// only one that a crash can leave in part.
func (r replay) damaged() bool { return r.behind > 1 || r.other }

// logs inspects the logs at the paths and returns the newest version of every key
// in them.
func (r *Report) logs(paths []string, o Options) (map[string]uint64, error) {
	newest := make(map[string]uint64)
	for _, path := range paths {
		log, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		replayed := replayLog(log, o.Encrypted)
		switch file := filepath.Base(path); {
		case replayed.damaged() && o.Synced:
			r.damage("the log %s is damaged, and acknowledged changes follow the damage", file)
		case replayed.rest:
			r.warn("the end of the log %s is cut off: a change that a crash interrupted, or damage", file)
		case int64(len(log)) < o.LogSize:
			r.warn("the log %s is shorter than it was made: an opening was interrupted, or the end is lost", file)
		}
		if o.Encrypted {
			continue
		}
		for _, e := range replayed.entries {
			note(newest, e.key)
		}
	}
	return newest, nil
}

func note(newest map[string]uint64, key []byte) {
	name, version := string(y.ParseKey(key)), y.ParseTs(key)
	newest[name] = max(newest[name], version)
}
