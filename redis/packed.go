package redis

import (
	"errors"
	"strconv"
	"strings"
)

// Counts and tallies are strings of one form: the byte 1, a time in decimal or
// nothing, ";", then "name=count;" any number of times, "\n", and the ids of the last
// spends or additions, of 8 bytes each, the newest first. Scripts write them. All but
// the ids is text, since that is what the server's Lua reads and writes at once.

var errPacked = errors.New("damaged, or of a later version")

// unpack reads the counts by name.
func unpack(value string) (map[string]int64, error) {
	value, version := strings.CutPrefix(value, "\x01")
	text, ids, whole := strings.Cut(value, "\n")
	at, text, timed := strings.Cut(text, ";")
	if _, ok := decimal(at); !version || !whole || !timed || !ok && at != "" || len(ids)%8 != 0 {
		return nil, errPacked
	}
	counts := make(map[string]int64)
	for text != "" {
		var entry string
		var ended bool
		entry, text, ended = strings.Cut(text, ";")
		name, digits, _ := strings.Cut(entry, "=")
		count, ok := decimal(digits)
		if !ended || !ok || name == "" {
			return nil, errPacked
		}
		counts[name] = count
	}
	return counts, nil
}

// maxExact is up to which the server's Lua, whose numbers are doubles, is exact.
const maxExact = 1 << 53

// decimal reads digits without a sign.
func decimal(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return int64(n), err == nil && n <= maxExact
}
