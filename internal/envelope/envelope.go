// Package envelope is the form in which the drivers that store bytes keep a
// record: a fixed header with what the driver must read, then the owner, then
// the data.
//
// Version 1, integers big-endian:
//
//	offset  bytes
//	     0      1  version, 1
//	     1      8  revision, from 1 on
//	     9      8  last used, a Time
//	    17      8  purge at, a Time
//	    25      2  length of the owner
//	    27      n  owner
//	  27+n         data, the rest
//
// Version 1 decodes for ever. The form holds no checksum: the store below is
// trusted to return what was written, and keystore checks its data itself.
package envelope

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// MaxOwnerLen is how many bytes of owner the form has room for.
const MaxOwnerLen = math.MaxUint16

const (
	version   = 1
	headerLen = 27
)

// Errors of this package. None holds a part of the record.
var (
	ErrMalformed = errors.New("envelope: malformed record")
	ErrVersion   = errors.New("envelope: record written by a newer version of this library")
	ErrOwnerLen  = errors.New("envelope: owner longer than 65535 bytes")
	ErrTime      = errors.New("envelope: time out of range")
)

// Time is a time in whole milliseconds. Times sort like their big-endian
// encodings, and the zero Time is the zero time.Time, which 1970-01-01 is not:
// it is the count of Unix milliseconds with the sign bit flipped.
type Time uint64

const signBit = 1 << 63

// TimeOf returns t without what is finer than a millisecond, or ErrTime for a
// time more than 292 million years from 1970.
func TimeOf(t time.Time) (Time, error) {
	if t.IsZero() {
		return 0, nil
	}
	const maxSeconds = math.MaxInt64/1000 - 1
	if s := t.Unix(); s > maxSeconds || s < -maxSeconds {
		return 0, ErrTime
	}
	return Time(uint64(t.UnixMilli()) ^ signBit), nil
}

// Time returns t in UTC.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(uint64(t) ^ signBit)).UTC()
}

// Header is what a driver reads and writes beside the owner and the data.
type Header struct {
	Revision          uint64
	LastUsed, PurgeAt Time
}

// Append appends the encoded record to dst. It returns ErrMalformed for
// revision 0 and ErrOwnerLen.
func Append(dst []byte, h Header, owner string, data []byte) ([]byte, error) {
	if h.Revision == 0 {
		return dst, ErrMalformed
	}
	if len(owner) > MaxOwnerLen {
		return dst, ErrOwnerLen
	}
	dst = append(dst, version)
	dst = binary.BigEndian.AppendUint64(dst, h.Revision)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.LastUsed))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.PurgeAt))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(owner)))
	dst = append(dst, owner...)
	return append(dst, data...), nil
}

// Len returns how many bytes Append appends.
func Len(owner string, data []byte) int { return headerLen + len(owner) + len(data) }

// Decode takes an encoded record apart; owner and data are parts of b. It
// returns ErrVersion or ErrMalformed.
func Decode(b []byte) (h Header, owner, data []byte, err error) {
	if len(b) == 0 {
		return h, nil, nil, ErrMalformed
	}
	if b[0] != version {
		return h, nil, nil, ErrVersion
	}
	if len(b) < headerLen {
		return h, nil, nil, ErrMalformed
	}
	h = Header{
		Revision: binary.BigEndian.Uint64(b[1:]),
		LastUsed: Time(binary.BigEndian.Uint64(b[9:])),
		PurgeAt:  Time(binary.BigEndian.Uint64(b[17:])),
	}
	end := headerLen + int(binary.BigEndian.Uint16(b[25:]))
	if h.Revision == 0 || end > len(b) {
		return Header{}, nil, nil, ErrMalformed
	}
	return h, b[headerLen:end:end], b[end:], nil
}
