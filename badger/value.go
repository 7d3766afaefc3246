package badger

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// What counts and tallies have in common in their stored forms: the version in
// front, ids of 8 bytes, names, a checksum behind. Records need none: keystore puts
// one into their data.

var (
	errMalformed = errors.New("the value is damaged")
	errNewer     = errors.New("the value was written by a newer version of this library")
)

// unreadable reports whether a value is there and cannot be read.
func unreadable(err error) bool { return errors.Is(err, errMalformed) || errors.Is(err, errNewer) }

const sumLen = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// checkSum returns b without its checksum, if that is right and its version is the
// one that is known.
func checkSum(b []byte, version byte) ([]byte, error) {
	at := len(b) - sumLen
	if at < 1 || crc32.Checksum(b[:at], castagnoli) != binary.BigEndian.Uint32(b[at:]) {
		return nil, errMalformed
	}
	if b[0] != version {
		return nil, errNewer
	}
	return b[:at], nil
}

const idLen = 8

// hasID reports whether id is among ids.
func hasID(ids []byte, id uint64) bool {
	for at := 0; at < len(ids); at += idLen {
		if binary.BigEndian.Uint64(ids[at:]) == id {
			return true
		}
	}
	return false
}

// withID puts id in front of ids, of which the last goes if they are limit already.
// It works in place if it can.
func withID(ids []byte, id uint64, limit int) []byte {
	if len(ids) < limit*idLen {
		ids = append(ids, make([]byte, idLen)...)
	}
	copy(ids[idLen:], ids)
	binary.BigEndian.PutUint64(ids, id)
	return ids
}

// reader takes a value apart. After its first failure it returns nothing more.
type reader struct {
	b      []byte
	text   string // ends as b does, for names
	failed bool
}

func (r *reader) fail() {
	r.b, r.failed = nil, true
}

// name returns a text of at least one byte that has its length in front.
func (r *reader) name() string {
	if len(r.b) == 0 {
		r.fail()
		return ""
	}
	n := int(r.b[0])
	if n == 0 || n >= len(r.b) {
		r.fail()
		return ""
	}
	at := len(r.text) - len(r.b) + 1
	r.b = r.b[1+n:]
	return r.text[at : at+n]
}

// uvarint returns an integer that is not above most.
func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}
