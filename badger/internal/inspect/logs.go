package inspect

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"

	"github.com/dgraph-io/badger/v4/y"
)

// A log is a header (8 bytes id of the data key, 0 for none, and 12 bytes that begin
// every initialization vector) and entries
//
//	meta, user meta (1 byte each), length of key, length of value, expiry (varints),
//	key with its version, value, CRC-32C of all that
//
// and zeros up to the size at which it was made. Key and value may be encrypted;
// the checksum is of what is in the file. The entries of a transaction follow each
// other, and its last one says that it is complete (structs.go, memtable.go).
const (
	logHeader   = 20
	metaInTxn   = 1 << 6
	metaEndsTxn = 1 << 7
	maxKey      = 1 << 16
	maxValue    = 1<<20 + 1<<10 // larger ones are in the value log, see ValueThreshold
	versionLen  = 8             // at the end of every key
	endOfTxn    = "!badger!txn"
)

// entry is one entry of a log.
type entry struct {
	meta byte
	key  []byte
	size int
}

// completes reports whether the entry ends a transaction, or is one by itself.
func (e entry) completes() bool { return e.meta&metaInTxn == 0 }

// isEnd reports whether the entry is the last one of a transaction by its key.
func (e entry) isEnd() bool { return bytes.HasPrefix(e.key, []byte(endOfTxn)) }

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
	if keyLen < versionLen || keyLen > maxKey || valueLen > min(left, maxValue) || keyLen+valueLen+crc32.Size > left {
		return entry{}, false
	}
	end := at + int(keyLen+valueLen)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return entry{}, false
	}
	return entry{meta: b[0], key: b[at : at+int(keyLen)], size: end + crc32.Size}, true
}

// logFile is the content of a log.
type logFile struct {
	data []byte
	key  []byte // with which it is encrypted; nil: it is not
}

// entry reads the entry at an offset, with its key decrypted.
func (l logFile) entry(at int) (entry, bool) {
	e, ok := readEntry(l.data[at:])
	if !ok || l.key == nil {
		return e, ok
	}
	iv := append(make([]byte, 0, 16), l.data[8:logHeader]...)
	plain, err := y.XORBlockAllocate(e.key, l.key, binary.BigEndian.AppendUint32(iv, uint32(at)))
	if err != nil { // the length of the data key is wrong, which Badger reports
		return entry{}, false
	}
	e.key = plain
	return e, true
}

// replay is what Badger makes of a log, and what it cuts off.
type replay struct {
	entries []entry // of complete transactions
	rest    bool    // something is cut off
	behind  int     // ends of transactions among that, 2 meaning 2 or more
	other   bool    // one of them is not the end of the transaction that was cut
	long    bool    // it is longer than a transaction can be
	garbled bool    // the header does not decrypt the entries
}

func (l logFile) replay() (r replay) {
	if len(l.data) < logHeader {
		r.rest = len(l.data) > 0
		return r
	}
	var open []entry // of the transaction that is being read
	at := logHeader
	for {
		e, ok := l.entry(at)
		if !ok || len(open) > 0 && e.meta&(metaInTxn|metaEndsTxn) == 0 {
			break
		}
		r.garbled = r.garbled || e.meta&metaEndsTxn != 0 && !e.isEnd()
		at += e.size
		if open = append(open, e); e.completes() {
			r.entries, open = append(r.entries, open...), nil
		}
	}
	end := at + len(bytes.TrimRight(l.data[at:], "\x00"))
	r.rest = len(open) > 0 || end > at
	// A log is made twice the size of its memtable, of which a transaction has at
	// most 15 %.
	if r.long = end-at > len(l.data)/2*15/100+1<<20; r.long {
		return r
	}
	for at < end && r.behind < 2 {
		e, ok := entry{}, false
		if at+1 < end && l.data[at+1] == 0 { // the user meta of what ends a transaction; spares most checksums
			e, ok = l.entry(at)
		}
		if !ok {
			at++
			continue
		}
		at += e.size
		if e.completes() {
			r.behind++
			r.other = r.other || len(open) > 0 && y.ParseTs(e.key) != y.ParseTs(open[0].key)
		}
	}
	return r
}

// damaged reports whether more is cut off than the last transaction: that is the
// only one that a crash can leave in part.
func (r replay) damaged() bool { return r.behind > 1 || r.other || r.long }

// logs inspects the logs at the paths and returns the newest version of every key
// in them.
func (r *Report) logs(paths []string, o Options) (map[string]uint64, error) {
	newest := make(map[string]uint64)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		log := logFile{data: data}
		if len(data) >= logHeader {
			id := binary.BigEndian.Uint64(data)
			if log.key = o.Keys[id]; log.key == nil && id != 0 {
				continue // Badger reports it
			}
		}
		replayed := log.replay()
		// Logs are made at their full size, and those that were replayed before are
		// cut behind a transaction.
		short := int64(len(data)) < o.LogSize && len(data)%4096 != 0
		switch {
		case replayed.garbled:
			r.damage("the header of the log %s is damaged, without which it cannot be decrypted", base(path))
		case replayed.damaged() && o.Synced:
			r.damage("the log %s is damaged, and acknowledged changes follow the damage", base(path))
		case replayed.rest && short && o.Synced:
			r.damage("the end of the log %s is missing", base(path))
		case replayed.rest:
			r.warn("the end of the log %s is cut off: a change that a crash interrupted, or damage", base(path))
		case short:
			r.warn("the log %s is shorter than it was made: an opening was interrupted, or the end is lost", base(path))
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
