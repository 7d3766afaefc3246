package mongo

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
)

// FuzzDecode: bytes from anywhere are a record, a tombstone or damaged, and a
// record says what its document does.
func FuzzDecode(f *testing.F) {
	for _, doc := range []bson.D{
		doc("_id", "a", "owner", "alice", "rev", int64(1), "data", []byte("d"), "purge_at", time.UnixMilli(5), "last_used", time.UnixMilli(6)),
		doc("_id", "a", "rev", int64(0), "purge_at", time.UnixMilli(5)),
		doc("_id", "a", "rev", 2.0, "owner", "", "data", bson.Binary{Subtype: 2, Data: []byte("old")}),
		doc("_id", bson.NewObjectID()),
		doc(),
	} {
		raw, err := bson.Marshal(doc)
		require.NoError(f, err)
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := decode(raw)
		if err != nil {
			require.True(t, errors.Is(err, errDamaged) || errors.Is(err, backend.ErrNotFound))
			require.Equal(t, backend.Record{ID: r.ID}, r)
			return
		}
		require.NotZero(t, r.Revision)
		change, err := content(r, int64(r.Revision), nil)
		require.NoError(t, err)
		require.Equal(t, "$set", change[0].Key)
	})
}
