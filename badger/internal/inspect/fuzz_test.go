package inspect

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
)

// appendEntry is the writer's side of readEntry.
func appendEntry(b []byte, meta byte, key, value []byte) []byte {
	start := len(b)
	b = append(b, meta, 0)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = binary.AppendUvarint(b, 0)
	b = append(append(b, key...), value...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// FuzzReplayLog: what is replayed is in the log, one entry behind the other; cutting
// off what comes later, or putting zeros behind it, changes nothing.
func FuzzReplayLog(f *testing.F) {
	log := make([]byte, logHeader)
	key := []byte("key\x00\x00\x00\x00\x00\x00\x00\x07")
	log = appendEntry(log, metaInTxn, key, []byte("value"))
	log = appendEntry(log, metaEndsTxn, key, []byte("7"))
	log = appendEntry(log, 0, key, nil)
	for _, seed := range [][]byte{nil, log, append(bytes.Clone(log), 0, 0, 0), append(bytes.Clone(log), log[logHeader:]...), log[:len(log)-1], append([]byte("x"), log...)} {
		f.Add(seed)
	}
	f.Add(append(append(bytes.Clone(log), 1), log[logHeader:]...))
	f.Fuzz(func(t *testing.T, log []byte) {
		r := logFile{data: log}.replay()
		end := logHeader
		for _, e := range r.entries {
			again, ok := readEntry(log[end:])
			require.True(t, ok)
			require.Equal(t, e, again)
			end += e.size
		}
		if len(log) < logHeader {
			require.Empty(t, r.entries)
			return
		}
		rest := len(bytes.TrimRight(log[end:], "\x00")) > 0
		require.Equal(t, rest, r.rest)
		require.True(t, r.rest || !r.damaged())
		require.Equal(t, r, logFile{data: append(bytes.Clone(log), 0, 0, 0)}.replay())
		clean := logFile{data: append(bytes.Clone(log[:end]), 0, 0, 0)}.replay()
		require.Equal(t, r.entries, clean.entries)
		require.False(t, clean.rest)
	})
}
