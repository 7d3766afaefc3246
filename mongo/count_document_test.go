package mongo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
)

// FuzzDecodeCounter: bytes from anywhere are counts or an error, and of the windows
// of a limit only those are superfluous that were spent in before enough others.
func FuzzDecodeCounter(f *testing.F) {
	full := doc("_id", "a", "spends", bson.A{int64(1), int64(2)}, "purge_at", time.UnixMilli(5))
	ties := doc("_id", "a") // between the last window that is kept and others
	for i := range uint32(20) {
		key := windowKey(backend.Window{Name: "day", Length: time.Hour, Start: time.Unix(int64(i)*3600, 0)})
		full = append(full, doc("n:"+key, int64(i)+1, "t:"+key, bson.Timestamp{T: 1 + i/3, I: i % 2})...)
		ties = append(ties, doc("n:"+key, int64(1), "t:"+key, bson.Timestamp{T: 1 + (i+1)/3})...)
	}
	for _, doc := range []bson.D{
		full, ties, doc("_id", "a"), doc("_id", "b"), doc(),
		doc("_id", "a", "n:", 1.0, "t:", bson.Timestamp{}), doc("_id", "a", "n:x", "1"), doc("_id", "a", "spends", doc("a", 1)),
	} {
		raw, err := bson.Marshal(doc)
		require.NoError(f, err)
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := decodeCounter(raw, "a")
		if err != nil {
			return
		}
		old := make(map[string]bool)
		for _, key := range c.superfluous() {
			require.Contains(t, c.windows, key)
			old[key] = true
		}
		kept, limits := make(map[string]int), make(map[string]bool)
		for key, w := range c.windows {
			require.Positive(t, w.count)
			limit := key[:max(0, strings.LastIndexByte(key, ':'))]
			if !old[key] {
				kept[limit]++
				continue
			}
			limits[limit] = true
			for other, o := range c.windows {
				if !old[other] && other[:max(0, strings.LastIndexByte(other, ':'))] == limit {
					require.Negative(t, compareTimestamps(w.last, o.last), "%s was spent in before %s", key, other)
				}
			}
		}
		for limit := range limits {
			require.GreaterOrEqual(t, kept[limit], backend.KeptWindows)
		}
	})
}

// FuzzDecodeTally: bytes from anywhere are a tally of the subject or an error.
func FuzzDecodeTally(f *testing.F) {
	day := time.Date(2031, 3, 4, 0, 0, 0, 0, time.UTC)
	for _, doc := range []bson.D{
		doc("_id", "k/2031-03-04", "subject", "k", "day", day, "n:07a", int64(1), "n:08l", 2.0, "additions", bson.A{int64(5)}),
		doc("_id", "k/2031-03-04", "subject", "k", "day", day, "n:07a", "x"),
		doc("_id", "k/2031-03-05", "subject", "k", "day", day), doc("_id", "k"), doc(),
	} {
		raw, err := bson.Marshal(doc)
		require.NoError(f, err)
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tally, err := decodeTally(raw, "k")
		if err != nil {
			require.True(t, errors.Is(err, errDamagedTally))
			return
		}
		require.True(t, isMidnight(tally.Day))
		for _, n := range tally.Counts {
			require.Positive(t, n)
		}
	})
}
