package badger

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Version 1 of counts, integers big-endian:
//
//	1 byte   version, 1
//	8 bytes  the time of the entry in the index, an envelope.Time
//	1 byte   number of spend ids
//	         spend ids of 8 bytes, that of the last spend first
//	         windows, the one that was spent in last first, of each:
//	    1 byte   length of the name
//	             name
//	    uvarint  length in seconds
//	    uvarint  start in Unix seconds
//	    uvarint  count
//	4 bytes  CRC-32C of all before it
//
// There is at least one spend id and one window. Version 1 decodes for ever.
const (
	countsVersion = 1
	countsHead    = 1 + 8 + 1
)

// counts is what is spent of the limits of one key.
type counts struct {
	due     envelope.Time // where the index has them: never later than their end
	spends  []byte        // ids of 8 bytes, that of the last spend first
	windows []counted     // the one that was spent in last first
}

// counted is a window, and what is spent in it.
type counted struct {
	window
	count int64
}

// window tells one window of a key from another.
type window struct {
	name          string
	length, start uint64 // seconds
}

// latest bounds the times that are taken from windows: beyond it, and far beyond any
// calendar, an envelope.Time has no room.
const latest = 1 << 50

// windowOf returns how w is stored, if the contract allows it.
func windowOf(w backend.Window) (window, error) {
	switch start := w.Start.Unix(); {
	case !validWindowName(w.Name):
		return window{}, errors.New("badger: the name of a window is not 1 to 32 of [a-z0-9_-]")
	case w.Length < time.Second || w.Length%time.Second != 0:
		return window{}, errors.New("badger: the length of a window is not in whole seconds")
	case start < 0 || start > latest || w.Start.Nanosecond() != 0:
		return window{}, errors.New("badger: the start of a window is not a whole second from the year 1970 on")
	default:
		return window{w.Name, uint64(w.Length / time.Second), uint64(start)}, nil
	}
}

func (w window) end() envelope.Time {
	at, _ := envelope.TimeOf(time.Unix(int64(w.start+w.length), 0)) // in range, by latest
	return at
}

// ofLimit reports whether w is of the same limit as other.
func (w window) ofLimit(other window) bool { return w.name == other.name && w.length == other.length }

// end returns when the last of the windows ends.
func (c *counts) end() envelope.Time {
	var last envelope.Time
	for _, w := range c.windows {
		last = max(last, w.end())
	}
	return last
}

// of returns what is spent in w.
func (c *counts) of(w window) int64 {
	for i := range c.windows {
		if c.windows[i].window == w {
			return c.windows[i].count
		}
	}
	return 0
}

// has reports whether the spend is among the last ones.
func (c *counts) has(spendID uint64) bool { return hasID(c.spends, spendID) }

// add notes a spend and the windows that it was in, no two of one limit, whose
// counts replace those before. Of each limit the backend.KeptWindows windows that
// were last spent in stay.
func (c *counts) add(spendID uint64, windows []limited, count []int64) {
	c.spends = withID(c.spends, spendID, backend.KeptSpends)
	if c.begin(windows) { // as a rule: nothing moves
		for i := range windows {
			c.windows[i].count = count[i]
		}
		return
	}
	spentIn := make([]counted, 0, len(windows)+len(c.windows))
	for i, w := range windows {
		spentIn = append(spentIn, counted{w.window, count[i]})
	}
	var older [backend.MaxWindows]int // windows of the limits of those
	for _, old := range c.windows {
		at := slices.IndexFunc(windows, func(w limited) bool { return w.ofLimit(old.window) })
		if at >= 0 {
			if windows[at].window == old.window {
				continue
			}
			if older[at]++; older[at] >= backend.KeptWindows {
				continue
			}
		}
		spentIn = append(spentIn, old)
	}
	c.windows = spentIn
}

// begin reports whether windows are the first ones of c, in their order.
func (c *counts) begin(windows []limited) bool {
	if len(c.windows) < len(windows) {
		return false
	}
	for i, w := range windows {
		if c.windows[i].window != w.window {
			return false
		}
	}
	return true
}

// encode returns the stored form.
func (c *counts) encode() []byte {
	b := make([]byte, 0, countsHead+len(c.spends)+len(c.windows)*32+sumLen)
	b = append(b, countsVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(c.due))
	b = append(b, byte(len(c.spends)/idLen))
	b = append(b, c.spends...)
	for _, w := range c.windows {
		b = append(append(b, byte(len(w.name))), w.name...)
		b = binary.AppendUvarint(b, w.length)
		b = binary.AppendUvarint(b, w.start)
		b = binary.AppendUvarint(b, uint64(w.count))
	}
	return appendSum(b)
}

// decodeCounts takes the stored form apart. It keeps b, and uses room for windows.
func decodeCounts(b []byte, room []counted) (c counts, err error) {
	b, err = checkSum(b, countsVersion)
	if err != nil {
		return counts{}, err
	}
	if len(b) < countsHead {
		return counts{}, errMalformed
	}
	c.due = envelope.Time(binary.BigEndian.Uint64(b[1:]))
	n := int(b[countsHead-1]) * idLen
	b = b[countsHead:]
	if c.due == 0 || n == 0 || n >= len(b) {
		return counts{}, errMalformed
	}
	c.spends = b[:n:n]
	c.windows = room[:0]
	for in := (reader{b: b[n:], text: string(b[n:])}); len(in.b) > 0; {
		var w counted
		w.name = in.name()
		w.length, w.start, w.count = in.uvarint(latest), in.uvarint(latest), int64(in.uvarint(backend.MaxCount))
		if in.failed {
			return counts{}, errMalformed
		}
		c.windows = append(c.windows, w)
	}
	return c, nil
}

func validWindowName(name string) bool {
	if name == "" || len(name) > backend.MaxWindowName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
