package inspect_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/badger/internal/inspect"
)

// logOf50 is the log of 50 transactions, and where each of them ends. Most of the
// zeros behind them are taken away, which spares the tests writing them.
func logOf50(t *testing.T, key []byte) (path string, log []byte, ends []int, o inspect.Options) {
	t.Helper()
	db := open(t, t.TempDir(), key)
	for i := range 50 {
		write(t, db, fmt.Sprint("n", i), 1, 40)
		log := bytes.TrimRight(read(t, only(t, db.Opts().Dir, "*.mem")), "\x00")
		ends = append(ends, len(log))
	}
	path = only(t, killed(t, db), "*.mem")
	log = read(t, path)[:ends[49]+256]
	o = optionsFor(t, filepath.Dir(path), key)
	o.LogSize = int64(len(log))
	return path, log, ends, o
}

// A byte that changes anywhere before the last transaction is damage; one within
// it may be what a crash left of it.
func TestLogWithAChangedByte(t *testing.T) {
	for name, key := range both {
		t.Run(name, func(t *testing.T) {
			path, log, ends, o := logOf50(t, key)
			last := ends[len(ends)-2]
			for at := 20; at < ends[len(ends)-1]; at += 1 + rand.IntN(3) {
				changed := bytes.Clone(log)
				changed[at] ^= 1 << rand.IntN(8)
				replace(t, path, changed)
				r := find(t, filepath.Dir(path), o)
				if at < last {
					require.Len(t, r.Damage, 1, "offset %d", at)
				} else {
					require.Empty(t, r.Damage, "offset %d is in the last transaction", at)
					require.Len(t, r.Warnings, 1, "offset %d", at)
				}
			}
			o.Synced = false
			changed := bytes.Clone(log)
			changed[100] ^= 1
			replace(t, path, changed)
			r := find(t, filepath.Dir(path), o)
			require.Empty(t, r.Damage, "what was not synced may be lost anywhere")
			require.Len(t, r.Warnings, 1)
		})
	}
}

func TestLogThatIsCutOff(t *testing.T) {
	path, log, ends, o := logOf50(t, nil)
	for at := range ends[len(ends)-1] + 10 {
		replace(t, path, log[:at])
		r := find(t, filepath.Dir(path), o)
		// A crash leaves logs of full size. A length in whole pages may be that.
		if at > 0 && at < ends[49] && at != logHeader && !slices.Contains(ends, at) && at%4096 != 0 {
			require.Len(t, r.Damage, 1, "cut at %d", at)
			continue
		}
		require.Empty(t, r.Damage, "cut at %d", at)
		if at < ends[49] || at%4096 != 0 {
			require.Len(t, r.Warnings, 1, "cut at %d", at)
		}
		require.Equal(t, at == 0, len(r.Empty) == 1)
	}
	// The rest of the file is there, but was never written.
	for at := ends[40] + 1; at < ends[41]; at++ {
		zeros := make([]byte, len(log)-at)
		replace(t, path, append(bytes.Clone(log[:at]), zeros...))
		r := find(t, filepath.Dir(path), o)
		require.Empty(t, r.Damage)
		if log[at-1] != 0 { // else it is as if cut earlier
			require.Len(t, r.Warnings, 1, "zeros from %d", at)
		}
	}
	// Pages reach the disk in any order: of the last transaction the end may be
	// there, and not the beginning.
	start, end := ends[48], ends[49]
	for at := start + 1; at < end; at++ {
		holed := bytes.Clone(log)
		clear(holed[start:at])
		replace(t, path, holed)
		r := find(t, filepath.Dir(path), o)
		require.Empty(t, r.Damage, "hole up to %d", at)
		require.Len(t, r.Warnings, 1)
	}
}

// The header of an encrypted log is covered by no checksum.
func TestHeaderOfAnEncryptedLog(t *testing.T) {
	path, log, _, o := logOf50(t, both["encrypted"])
	for at := 8; at < logHeader; at++ {
		changed := bytes.Clone(log)
		changed[at] ^= 1 << rand.IntN(8)
		replace(t, path, changed)
		require.Len(t, find(t, filepath.Dir(path), o).Damage, 1, "offset %d", at)
	}
	log[7] = 0 // the id of its key: as if it were not encrypted
	replace(t, path, log)
	require.Len(t, find(t, filepath.Dir(path), o).Damage, 1)
}

// A rest that no transaction can be long enough for is damage, and is not searched
// for transactions byte by byte.
func TestLongGarbage(t *testing.T) {
	path, log, ends, o := logOf50(t, nil)
	log = append(log[:ends[20]], make([]byte, 16<<20-ends[20])...)
	random := rand.New(rand.NewPCG(1, 2))
	for i := ends[20]; i < len(log); i++ {
		log[i] = byte(random.Uint32())
	}
	o.LogSize = int64(len(log))
	replace(t, path, log)
	require.Len(t, find(t, filepath.Dir(path), o).Damage, 1)
	clear(log[ends[20]+2<<20:]) // as long as one can be
	replace(t, path, log)
	r := find(t, filepath.Dir(path), o)
	require.Empty(t, r.Damage)
	require.Len(t, r.Warnings, 1)
}
