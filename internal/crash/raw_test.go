package crash

import (
	"encoding/binary"
	"slices"
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/badger"
	"example.com/keystore/internal/envelope"
)

// checkRaw reads the database below the driver: its keys are exactly the records
// of the ledger and the index entries that these ask for.
func checkRaw(t *testing.T, dir string, l *ledger) {
	t.Helper()
	options, err := badger.DatabaseOptions(dir, nil)
	require.NoError(t, err)
	var db *badgerdb.DB
	require.NoError(t, unforked(func() (err error) {
		db, err = badgerdb.Open(options)
		return err
	}))
	defer closeStore(t, db)

	got, want := []string{}, []string{}
	require.NoError(t, db.View(func(txn *badgerdb.Txn) error {
		it := txn.NewIterator(badgerdb.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			name := string(it.Item().Key())
			got = append(got, name)
			id, isRecord := recordID(name)
			if !isRecord {
				continue
			}
			value, err := it.Item().ValueCopy(nil)
			require.NoError(t, err)
			h, owner, _, err := envelope.Decode(value)
			require.NoError(t, err)
			k := l.keys[id]
			assert.False(t, k.Gone, "key %s", id)
			assert.Equal(t, k.Facts.Owner, string(owner), "key %s", id)
			assert.Equal(t, k.Facts.Revision, h.Revision, "key %s", id)
			assert.Equal(t, k.purgeAt(), ms(h.PurgeAt.Time()), "key %s", id)
			assert.Equal(t, k.LastUsed, ms(h.LastUsed.Time()), "key %s", id)
		}
		return nil
	}))
	for id, k := range l.keys {
		if !k.Gone {
			want = append(want, entriesOf(id, k)...)
		}
	}
	slices.Sort(want)
	assert.Equal(t, want, got, "what is in the database")
}

const namespace = "keystore/"

func recordID(name string) (id string, found bool) {
	const prefix = namespace + "r"
	if len(name) < len(prefix) || name[:len(prefix)] != prefix {
		return "", false
	}
	return name[len(prefix):], true
}

// entriesOf are the keys of a record and of its index entries, as docs/format.md
// and package badger have them.
func entriesOf(id string, k key) []string {
	owner := binary.BigEndian.AppendUint16(nil, uint16(len(k.Facts.Owner)))
	entries := []string{namespace + "r" + id, namespace + "o" + string(owner) + k.Facts.Owner + id}
	if at := k.purgeAt(); at != 0 {
		time := binary.BigEndian.AppendUint64(nil, uint64(at)^1<<63)
		entries = append(entries, namespace+"p"+string(time)+id)
	}
	return entries
}
