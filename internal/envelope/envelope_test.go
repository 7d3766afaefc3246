package envelope_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/envelope"
)

func timeOf(t *testing.T, at time.Time) envelope.Time {
	t.Helper()
	encoded, err := envelope.TimeOf(at)
	require.NoError(t, err)
	return encoded
}

// The golden file is what version 1 has written since it exists: a change of it
// makes every stored key unreadable.
func TestVersion1Golden(t *testing.T) {
	h := envelope.Header{
		Revision: 0x0102030405060708,
		LastUsed: timeOf(t, time.Date(2024, 2, 29, 12, 34, 56, 789e6, time.UTC)),
		PurgeAt:  timeOf(t, time.Unix(0, 0)),
	}
	got, err := envelope.Append(nil, h, "owner-ü", []byte{0, 1, 0xff})
	require.NoError(t, err)

	text, err := os.ReadFile("testdata/v1.hex")
	require.NoError(t, err)
	golden, err := hex.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	assert.Equal(t, golden, got, "encoding, hex %x", got)

	decoded, owner, data, err := envelope.Decode(golden)
	require.NoError(t, err)
	assert.Equal(t, h, decoded)
	assert.Equal(t, "owner-ü", string(owner))
	assert.Equal(t, []byte{0, 1, 0xff}, data)
}

func TestRoundTrip(t *testing.T) {
	for name, r := range map[string]struct {
		owner string
		data  []byte
	}{
		"empty":         {"", nil},
		"owner only":    {"o", nil},
		"data only":     {"", []byte("d")},
		"longest owner": {strings.Repeat("o", envelope.MaxOwnerLen), []byte("d")},
		"64 KiB":        {"o", bytes.Repeat([]byte{0xfe}, 64<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			h := envelope.Header{Revision: math.MaxUint64}
			encoded, err := envelope.Append([]byte("before"), h, r.owner, r.data)
			require.NoError(t, err)
			encoded = bytes.TrimPrefix(encoded, []byte("before"))
			assert.Len(t, encoded, envelope.Len(r.owner, r.data))

			decoded, owner, data, err := envelope.Decode(encoded)
			require.NoError(t, err)
			assert.Equal(t, h, decoded)
			assert.Equal(t, r.owner, string(owner))
			assert.True(t, bytes.Equal(r.data, data))
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	_, err := envelope.Append(nil, envelope.Header{}, "", nil)
	assert.ErrorIs(t, err, envelope.ErrMalformed)
	_, err = envelope.Append(nil, envelope.Header{Revision: 1}, strings.Repeat("o", envelope.MaxOwnerLen+1), nil)
	assert.ErrorIs(t, err, envelope.ErrOwnerLen)
}

func TestDecodeRefuses(t *testing.T) {
	whole, err := envelope.Append(nil, envelope.Header{Revision: 1}, "owner", nil)
	require.NoError(t, err)
	for n := range whole {
		_, _, _, err := envelope.Decode(whole[:n])
		assert.ErrorIs(t, err, envelope.ErrMalformed, "cut to %d bytes", n)
	}
	for _, version := range []byte{0, 2, 255} {
		other := bytes.Clone(whole)
		other[0] = version
		_, _, _, err = envelope.Decode(other)
		assert.ErrorIs(t, err, envelope.ErrVersion, "version %d", version)
	}
	noRevision := bytes.Clone(whole)
	clear(noRevision[1:9])
	_, _, _, err = envelope.Decode(noRevision)
	assert.ErrorIs(t, err, envelope.ErrMalformed)
}

// An owner that a caller appends to must not run into the data behind it.
func TestDecodedOwnerDoesNotReachData(t *testing.T) {
	whole, err := envelope.Append(nil, envelope.Header{Revision: 1}, "owner", []byte("data"))
	require.NoError(t, err)
	_, owner, data, err := envelope.Decode(whole)
	require.NoError(t, err)
	_ = append(owner, 'X')
	assert.Equal(t, "data", string(data))
}

func TestTimesKeepTheirOrder(t *testing.T) {
	ascending := []time.Time{
		{},
		time.Date(1, 1, 1, 0, 0, 0, 1e6, time.UTC),
		time.UnixMilli(-1),
		time.UnixMilli(0),
		time.UnixMilli(1),
		time.Date(2024, 2, 29, 12, 34, 56, 789e6, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
		time.UnixMilli(math.MaxInt64 - 10_000),
	}
	for i, at := range ascending {
		encoded := timeOf(t, at)
		assert.True(t, encoded.Time().Equal(at), "%v came back as %v", at, encoded.Time())
		assert.Equal(t, time.UTC, encoded.Time().Location())
		if i > 0 {
			assert.Greater(t, encoded, timeOf(t, ascending[i-1]), "%v", at)
		}
	}
	assert.Zero(t, timeOf(t, time.Time{}))
	assert.True(t, envelope.Time(0).Time().IsZero())
}

func TestTimeOf(t *testing.T) {
	assert.Equal(t, timeOf(t, time.UnixMilli(1)), timeOf(t, time.UnixMilli(1).Add(999*time.Microsecond)), "truncated")
	for _, at := range []time.Time{time.Unix(math.MaxInt64/1000, 0), time.Unix(math.MinInt64/1000, 0), time.Unix(math.MaxInt64, 0)} {
		_, err := envelope.TimeOf(at)
		assert.ErrorIs(t, err, envelope.ErrTime)
	}
}

func FuzzDecode(f *testing.F) {
	whole, err := envelope.Append(nil, envelope.Header{Revision: 1, LastUsed: 2, PurgeAt: 3}, "owner", []byte("data"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:27])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, owner, data, err := envelope.Decode(b)
		if err != nil {
			return
		}
		again, err := envelope.Append(nil, h, string(owner), data)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes to %x, %v", b, again, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	whole, err := envelope.Append(nil, envelope.Header{Revision: 1}, "owner", make([]byte, 200))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := envelope.Decode(whole); err != nil {
			b.Fatal(err)
		}
	}
}
