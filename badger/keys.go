package badger

import (
	"encoding/binary"
	"errors"
	"fmt"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// The kinds of keys in a namespace. They are part of the format on disk.
const (
	kindRecord  = 'r' // id -> envelope
	kindOwner   = 'o' // length of owner (2 bytes), owner, id
	kindPurge   = 'p' // purge time (8 bytes), id
	kindRestore = 'x' // present while a Restore has not finished

	kindCounts    = 'c' // id -> counts
	kindCountsDue = 'e' // a time up to which no window of the counts ends (8 bytes), id
	kindTally     = 'u' // tally id -> tally
	kindTallyDue  = 'v' // purge time (8 bytes), tally id
)

// dueKinds tells the index by time of what has one.
var dueKinds = map[byte]byte{kindRecord: kindPurge, kindCounts: kindCountsDue, kindTally: kindTallyDue}

// present is the value of a key that says all by being there. It is not empty
// because Badger reads an empty value without flags as absent.
var present = []byte{1}

// maxOwnerLen keeps an owner index key within the 65000 bytes that Badger takes.
const maxOwnerLen = 32 << 10

// minBatchSize is what a transaction must have room for: the largest record
// with its index entries.
const minBatchSize = backend.MaxDataLen + 2*maxOwnerLen + 32<<10

// keyspace builds the keys of one namespace.
type keyspace string

func (k keyspace) prefix(kind byte) []byte {
	return append(append(make([]byte, 0, len(k)+1), k...), kind)
}

func (k keyspace) of(kind byte, id string) []byte {
	return k.append(make([]byte, 0, len(k)+1+len(id)), kind, id)
}

func (k keyspace) append(key []byte, kind byte, id string) []byte {
	return append(append(append(key, k...), kind), id...)
}

func (k keyspace) record(id string) []byte { return k.of(kindRecord, id) }

// owned is what the owner index keys of an owner begin with. The length first
// keeps owners apart of which one begins like another.
func (k keyspace) owned(owner string) []byte {
	key := append(make([]byte, 0, len(k)+3+len(owner)+backend.MaxIDLen), k...)
	key = binary.BigEndian.AppendUint16(append(key, kindOwner), uint16(len(owner)))
	return append(key, owner...)
}

func (k keyspace) owner(owner, id string) []byte { return append(k.owned(owner), id...) }

// due is a key of an index by time.
func (k keyspace) due(kind byte, e entry) []byte {
	key := append(make([]byte, 0, len(k)+9+len(e.id)), k...)
	key = binary.BigEndian.AppendUint64(append(key, kind), uint64(e.at))
	return append(key, e.id...)
}

// dueEntry takes a key of an index by time apart.
func (k keyspace) dueEntry(key []byte) (entry, bool) {
	rest := key[len(k)+1:]
	if len(rest) < 8 {
		return entry{}, false
	}
	return entry{id: string(rest[8:]), at: envelope.Time(binary.BigEndian.Uint64(rest))}, true
}

// A tally id is subject, 0, day. The 0 keeps subjects apart of which one begins like
// another; the days of a subject ascend.
const tallyTailLen = 1 + 4

// tallyID returns the id of the tally of a subject on a day, counted from
// 1970-01-01 on.
func tallyID(subject string, day uint32) string {
	id := append(make([]byte, 0, len(subject)+tallyTailLen), subject...)
	return string(binary.BigEndian.AppendUint32(append(id, 0), day))
}

// splitTallyID takes a tally id apart.
func splitTallyID(id string) (subject string, day uint32, ok bool) {
	at := len(id) - tallyTailLen
	if at < 0 || id[at] != 0 {
		return "", 0, false
	}
	return id[:at], binary.BigEndian.Uint32([]byte(id[at+1:])), true
}

// checkRecord refuses what the keys and the envelope have no room for.
func checkRecord(r backend.Record) error {
	switch {
	case !validID(r.ID):
		return refused(errInvalidID)
	case len(r.Owner) > maxOwnerLen:
		return refused(fmt.Errorf("badger: the owner is longer than %d bytes", maxOwnerLen))
	case len(r.Data) > backend.MaxDataLen:
		return refused(fmt.Errorf("badger: the data is longer than %d bytes", backend.MaxDataLen))
	}
	return nil
}

var errInvalidID = errors.New("badger: the id is not 1 to 64 of [0-9A-Za-z_-]")

// validID keeps to the grammar of backend.Record.ID.
func validID(id string) bool {
	if id == "" || len(id) > backend.MaxIDLen {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
