package mongowire_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"example.com/keystore/internal/testserver/mongowire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns a collection of the server, by the real driver.
func connect(t testing.TB, server *mongowire.Server) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(server.URL()).SetServerSelectionTimeout(10 * time.Second))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Disconnect(context.Background())) })
	return client.Database("test").Collection("keys")
}

// memory returns a collection of a server that keeps documents.
func memory(t testing.TB, role ...mongowire.Role) *mongo.Collection {
	t.Helper()
	return connect(t, mongowire.Start(t, mongowire.Memory().Handle, role...))
}

// testContext bounds what a test waits for.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// d makes a document of names and values.
func d(pairs ...any) bson.D {
	doc := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		doc = append(doc, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return doc
}

// extJSON is a document as JSON with plain numbers.
func extJSON(t testing.TB, doc bson.Raw) string {
	t.Helper()
	text, err := bson.MarshalExtJSON(doc, false, false)
	require.NoError(t, err)
	return string(text)
}
