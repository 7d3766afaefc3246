package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// The kinds of keys in a namespace. They are part of the format on disk.
const (
	kindRecord  = 'r' // id -> envelope
	kindOwner   = 'o' // length of owner (2 bytes), owner, id
	kindPurge   = 'p' // purge time (8 bytes), id
	kindRestore = 'x' // present while a Restore has not finished
)

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

func (k keyspace) record(id string) []byte {
	key := append(make([]byte, 0, len(k)+1+len(id)), k...)
	return append(append(key, kindRecord), id...)
}

// owned is what the owner index keys of an owner begin with. The length first
// keeps owners apart of which one begins like another.
func (k keyspace) owned(owner string) []byte {
	key := append(make([]byte, 0, len(k)+3+len(owner)+backend.MaxIDLen), k...)
	key = binary.BigEndian.AppendUint16(append(key, kindOwner), uint16(len(owner)))
	return append(key, owner...)
}

func (k keyspace) owner(owner, id string) []byte { return append(k.owned(owner), id...) }

func (k keyspace) purge(at envelope.Time, id string) []byte {
	key := append(make([]byte, 0, len(k)+9+len(id)), k...)
	key = binary.BigEndian.AppendUint64(append(key, kindPurge), uint64(at))
	return append(key, id...)
}

// purgeEntry takes a purge index key apart.
func (k keyspace) purgeEntry(key []byte) (entry, bool) {
	rest := key[len(k)+1:]
	if len(rest) < 8 {
		return entry{}, false
	}
	return entry{id: string(rest[8:]), at: envelope.Time(binary.BigEndian.Uint64(rest))}, true
}

// checkRecord refuses what the keys and the envelope have no room for.
func checkRecord(r backend.Record) error {
	switch {
	case !validID(r.ID):
		return refused(errors.New("badger: the id is not 1 to 64 of [0-9A-Za-z_-]"))
	case len(r.Owner) > maxOwnerLen:
		return refused(fmt.Errorf("badger: the owner is longer than %d bytes", maxOwnerLen))
	case len(r.Data) > backend.MaxDataLen:
		return refused(fmt.Errorf("badger: the data is longer than %d bytes", backend.MaxDataLen))
	}
	return nil
}

// validID keeps to the grammar of backend.Record.ID.
func validID(id string) bool {
	const allowed = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
	return id != "" && len(id) <= backend.MaxIDLen && strings.Trim(id, allowed) == ""
}
