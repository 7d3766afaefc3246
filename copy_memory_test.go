package keystore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// endless is a store of a great many keys, made as they are listed: every nth of
// the numbers from 1e15 on.
type endless struct {
	backend.Backend
	data   func(id string) []byte
	keys   int
	every  int
	listed func()
}

func (e endless) List(_ context.Context, o backend.ListOptions) ([]backend.Record, error) {
	first := 0
	if o.After != "" {
		fmt.Sscan(o.After, &first)
		first = (first-1e15)/e.every + 1
	}
	if e.listed != nil {
		e.listed()
	}
	var page []backend.Record
	for i := first; i < min(first+o.Limit, e.keys); i++ {
		id := fmt.Sprint(int(1e15) + i*e.every)
		page = append(page, backend.Record{ID: id, Owner: "owner", Data: e.data(id), Revision: 1, LastUsed: time.UnixMilli(1)})
	}
	return page, nil
}

func (e endless) Create(context.Context, backend.Record) error      { return nil }
func (e endless) Touch(context.Context, map[string]time.Time) error { return nil }

// bigRecord returns what makes the Data of a key of about that size.
func bigRecord(t *testing.T, size int) func(id string) []byte {
	store := memory.New()
	ks := newStoreOn(t, store, keystore.Options{})
	_, key, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "owner", Metadata: map[string]string{"m": strings.Repeat("m", size)}})
	require.NoError(t, err)
	data := everyRecord(t, store)[0].Data
	return func(id string) []byte { return underID(data, key.ID, id) }
}

// underID is the Data of a key under another id.
func underID(data []byte, old, id string) []byte {
	return resealed(bytes.Replace(data, []byte(old), []byte(id), 1))
}

// resealed is Data with the checksum that it should have.
func resealed(data []byte) []byte {
	body := data[:len(data)-4]
	return binary.BigEndian.AppendUint32(body, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}

// TestCopyAndCompareHoldLittleInMemory moves 100 MB of records between stores
// that keep nothing, and merges a few into as many.
func TestCopyAndCompareHoldLittleInMemory(t *testing.T) {
	const keys, size, bound = 50_000, 2000, 12 << 20
	data := bigRecord(t, size)
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, calls := inUse(), 0
	watch := func() {
		if calls++; calls%10 == 0 {
			require.Less(t, inUse(), before+bound)
		}
	}
	all := endless{memory.New(), data, keys, 1, watch}
	none := endless{memory.New(), data, 0, 1, nil}
	some := endless{memory.New(), data, keys / 200, 200, nil}

	result, err := keystore.Copy(t.Context(), all, none, nil)
	require.NoError(t, err)
	require.Equal(t, int64(keys), result.Created)
	result, err = keystore.Copy(t.Context(), some, all, nil)
	require.NoError(t, err)
	require.Equal(t, int64(keys/200), result.Unchanged)
	compared, err := keystore.Compare(t.Context(), all, some, nil)
	require.NoError(t, err)
	require.Equal(t, int64(keys/200), compared.Same)
	require.Equal(t, int64(keys-keys/200), compared.Missing)
	require.Greater(t, calls, 3*keys/500)
}
