package mongo

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
)

// The fields of a document. What each of them means stands in docs/mongo.md.
const (
	fieldID       = "_id"
	fieldOwner    = "owner"
	fieldRev      = "rev" // 0: a tombstone
	fieldData     = "data"
	fieldPurgeAt  = "purge_at"
	fieldLastUsed = "last_used"
	fieldChanged  = "changed"
	fieldWriteID  = "write_id" // random, another with each change: tells two of one moment apart
)

// errDamaged means that a document is there and is no record of ours.
var errDamaged = errors.New("mongo: the document is damaged, or of a later version")

// doc makes a document of names and values in turn. Every value is one of the
// driver's own types or of Go's, never text that would be parsed, so that what
// looks like an operator in a string is data.
func doc(pairs ...any) bson.D {
	d := make(bson.D, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		d = append(d, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return d
}

var (
	present = doc("$ne", int64(0)) // no tombstone, whatever else it is
	intact  = doc("$gt", int64(0))
)

// date returns t in milliseconds; t is not zero. Times before 1970 are none of
// the contract's.
func date(t time.Time) (bson.DateTime, error) {
	const maxSeconds = math.MaxInt64/1000 - 1
	if s := t.Unix(); s > maxSeconds || s < 0 {
		return 0, errors.New("mongo: time out of range")
	}
	return bson.DateTime(t.UnixMilli()), nil
}

// content is the update operators that write the parts of a record that Create
// and Update have in common, after those of set.
func content(r backend.Record, rev int64, set bson.D, unset ...string) (bson.D, error) {
	data := r.Data
	if data == nil {
		data = []byte{} // nil would become null
	}
	set = append(set, doc(fieldData, data, fieldRev, rev, fieldWriteID, rand.Int64())...)
	if r.PurgeAt.IsZero() {
		unset = append(unset, fieldPurgeAt)
	} else {
		at, err := date(r.PurgeAt)
		if err != nil {
			return nil, err
		}
		set = append(set, bson.E{Key: fieldPurgeAt, Value: at})
	}
	change := doc("$set", set, "$currentDate", doc(fieldChanged, true))
	if len(unset) == 0 {
		return change, nil
	}
	return append(change, bson.E{Key: "$unset", Value: without(unset...)}), nil
}

func without(fields ...string) bson.D {
	var d bson.D
	for _, f := range fields {
		d = append(d, bson.E{Key: f, Value: ""})
	}
	return d
}

// tombstone is the update that makes one of a record. Its purge_at is the
// server's time, by which it is found when it may go.
func tombstone() bson.D {
	return doc(
		"$set", doc(fieldRev, int64(0), fieldWriteID, rand.Int64()),
		"$unset", without(fieldOwner, fieldData, fieldLastUsed),
		"$currentDate", doc(fieldChanged, true, fieldPurgeAt, true),
	)
}

// decode makes a record of a document. It returns backend.ErrNotFound for a
// tombstone and errDamaged, with the id if that can be read. The record has
// nothing in common with the memory of raw.
func decode(raw bson.Raw) (backend.Record, error) {
	id, ok := raw.Lookup(fieldID).StringValueOK()
	if !ok {
		return backend.Record{}, errDamaged
	}
	damaged := backend.Record{ID: id}
	rev, ok := integer(raw.Lookup(fieldRev))
	switch {
	case !ok || rev < 0:
		return damaged, errDamaged
	case rev == 0:
		return damaged, backend.ErrNotFound
	}
	owner, isString := raw.Lookup(fieldOwner).StringValueOK()
	subtype, data, isBinary := raw.Lookup(fieldData).BinaryOK()
	purgeAt, isDate := optionalDate(raw.Lookup(fieldPurgeAt))
	lastUsed, isDateToo := optionalDate(raw.Lookup(fieldLastUsed))
	if !isString || !isBinary || subtype != bson.TypeBinaryGeneric || !isDate || !isDateToo {
		return damaged, errDamaged
	}
	return backend.Record{
		ID: id, Owner: owner, Data: bytes.Clone(data), PurgeAt: purgeAt, LastUsed: lastUsed, Revision: uint64(rev),
	}, nil
}

// integer also takes what other tools write in place of a 64-bit integer, if it
// is whole.
func integer(v bson.RawValue) (int64, bool) {
	if i, ok := v.Int64OK(); ok {
		return i, true
	}
	if i, ok := v.Int32OK(); ok {
		return int64(i), true
	}
	if f, ok := v.DoubleOK(); ok && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int64(f), true
	}
	return 0, false
}

// optionalDate returns the zero time for a field that is not there.
func optionalDate(v bson.RawValue) (time.Time, bool) {
	if v.Type == 0 {
		return time.Time{}, true
	}
	ms, ok := v.DateTimeOK()
	t := time.UnixMilli(ms).UTC()
	_, err := date(t)
	return t, ok && err == nil
}

// sameContent reports whether the stored record is what writing r leaves.
func sameContent(stored, r backend.Record) bool {
	return bytes.Equal(stored.Data, r.Data) && stored.PurgeAt.Equal(r.PurgeAt.Truncate(time.Millisecond))
}

// checkRecord refuses what others than keystore might write beyond the limits of
// the contract, before the server does.
func checkRecord(r backend.Record) error {
	switch {
	case r.ID == "" || len(r.ID) > backend.MaxIDLen:
		return fmt.Errorf("mongo: the id has %d bytes, and 1 to %d are allowed", len(r.ID), backend.MaxIDLen)
	case len(r.Data) > backend.MaxDataLen:
		return fmt.Errorf("mongo: the data has %d bytes, and %d are allowed", len(r.Data), backend.MaxDataLen)
	}
	return nil
}
