package badger

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Version 1 of a tally, integers big-endian:
//
//	1 byte   version, 1
//	8 bytes  purge at, an envelope.Time
//	1 byte   number of addition ids
//	         addition ids of 8 bytes, that of the last addition first
//	         counts, ascending by name, of each:
//	    1 byte   length of the name
//	             name
//	    uvarint  count
//	4 bytes  CRC-32C of all before it
//
// Version 1 decodes for ever.
const (
	tallyVersion = 1
	tallyHead    = 1 + 8 + 1
)

// tally is how much a subject used on one day.
type tally struct {
	purgeAt envelope.Time
	added   []byte // ids of 8 bytes, that of the last addition first
	counts  map[string]int64
}

// has reports whether the addition is among the last ones.
func (t *tally) has(addID uint64) bool { return hasID(t.added, addID) }

// add makes an addition. Sums that would overflow stay at the most there can be.
func (t *tally) add(addID uint64, counts map[string]int64) {
	t.added = withID(t.added, addID, backend.KeptAdditions)
	if t.counts == nil {
		t.counts = make(map[string]int64, len(counts))
	}
	for name, n := range counts {
		if have := t.counts[name]; n > math.MaxInt64-have {
			t.counts[name] = math.MaxInt64
		} else {
			t.counts[name] = have + n
		}
	}
}

// encode returns the stored form.
func (t *tally) encode() []byte {
	b := make([]byte, 0, tallyHead+len(t.added)+len(t.counts)*(1+backend.MaxTallyName+4)+sumLen)
	b = append(b, tallyVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(t.purgeAt))
	b = append(append(b, byte(len(t.added)/idLen)), t.added...)
	for _, name := range slices.Sorted(maps.Keys(t.counts)) {
		b = append(append(b, byte(len(name))), name...)
		b = binary.AppendUvarint(b, uint64(t.counts[name]))
	}
	return appendSum(b)
}

// decodeTally takes the stored form apart. It keeps b.
func decodeTally(b []byte) (t tally, err error) {
	b, err = checkSum(b, tallyVersion)
	if err != nil {
		return tally{}, err
	}
	if len(b) < tallyHead {
		return tally{}, errMalformed
	}
	t.purgeAt = envelope.Time(binary.BigEndian.Uint64(b[1:]))
	n := int(b[tallyHead-1]) * idLen
	b = b[tallyHead:]
	if n > len(b) {
		return tally{}, errMalformed
	}
	t.added = b[:n:n]
	t.counts = make(map[string]int64)
	last := ""
	for in := (reader{b: b[n:], text: string(b[n:])}); len(in.b) > 0; {
		name := in.name()
		count := in.uvarint(math.MaxInt64)
		if in.failed || name <= last {
			return tally{}, errMalformed
		}
		t.counts[name], last = int64(count), name
	}
	return t, nil
}
