package mongowire_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/internal/testserver/mongowire"
)

// filled is a store of n documents of about 300 bytes.
func filled(b *testing.B, n int) *mongowire.Store {
	store := mongowire.Memory()
	docs := make(bson.A, n)
	for i := range docs {
		docs[i] = d("_id", fmt.Sprintf("%016d", i), "owner", "o", "rev", int64(1), "data", make([]byte, 200))
	}
	body, err := bson.Marshal(d("insert", "keys", "documents", docs, "$db", "test"))
	require.NoError(b, err)
	store.Handle(mongowire.Command{Name: "insert", DB: "test", Body: body})
	require.Len(b, store.Documents("test.keys"), n)
	return store
}

// BenchmarkHandle is the server's own work for a find by _id, without the line.
func BenchmarkHandle(b *testing.B) {
	store := filled(b, 1000)
	body, err := bson.Marshal(d("find", "keys", "filter", d("_id", fmt.Sprintf("%016d", 500)), "limit", int64(1), "singleBatch", true, "$db", "test"))
	require.NoError(b, err)
	cmd := mongowire.Command{Name: "find", DB: "test", Body: body}
	b.ReportAllocs()
	for b.Loop() {
		store.Handle(cmd)
	}
}

// BenchmarkFindOne is what the driver of a benchmark is compared with.
func BenchmarkFindOne(b *testing.B) {
	c := connect(b, mongowire.Start(b, filled(b, 1000).Handle))
	ctx := testContext(b)
	filter := d("_id", fmt.Sprintf("%016d", 500))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.FindOne(ctx, filter).Raw(); err != nil {
			b.Fatal(err)
		}
	}
}
