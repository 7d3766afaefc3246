package redis

import (
	"errors"
	"strconv"
	"strings"
)

// Counts and tallies are strings of one form: the byte 1, a time in decimal or
// nothing, ";", entries that each end with ";", "\n", and the ids of the last spends or
// additions, of 8 bytes each, the newest first. Scripts write them. All but the ids
// is text, since that is what the server's Lua reads and writes at once.
type packed struct {
	entries []string
	ids     string
}

var errPacked = errors.New("damaged, or of a later version")

func unpack(value string) (packed, error) {
	rest, version := strings.CutPrefix(value, "\x01")
	text, ids, whole := strings.Cut(rest, "\n")
	parts := strings.Split(text, ";")
	_, timed := decimal(parts[0])
	last := len(parts) - 1
	if !version || !whole || !timed && parts[0] != "" || last == 0 || parts[last] != "" || len(ids)%8 != 0 {
		return packed{}, errPacked
	}
	return packed{parts[1:last], ids}, nil
}

// cutCount cuts "name=12".
func cutCount(entry string) (name string, count int64, ok bool) {
	name, text, _ := strings.Cut(entry, "=")
	count, ok = decimal(text)
	return name, count, ok && name != ""
}

// maxExact is up to which the server's Lua, whose numbers are doubles, is exact.
const maxExact = 1 << 53

// decimal reads digits without a sign.
func decimal(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return int64(n), err == nil && n <= maxExact
}
