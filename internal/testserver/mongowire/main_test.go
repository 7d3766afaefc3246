package mongowire_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"example.com/keystore/internal/testserver"
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

const prefix = "keystore_mongowire_" // of databases on another server

// onEach runs a test on this package's store and on another server, FerretDB or the
// user's: what the one says of MongoDB, the other should say too.
func onEach(t *testing.T, test func(*testing.T, *mongo.Collection)) {
	t.Run("memory", func(t *testing.T) { test(t, memory(t, mongowire.Primary)) })
	t.Run("server", func(t *testing.T) {
		client, err := mongo.Connect(options.Client().ApplyURI(testserver.MongoURL(t)))
		require.NoError(t, err)
		db := client.Database(prefix + bson.NewObjectID().Hex())
		t.Cleanup(func() {
			require.NoError(t, db.Drop(context.Background()))
			require.NoError(t, client.Disconnect(context.Background()))
		})
		test(t, db.Collection("keys"))
	})
}

// beyondFerretDB ends a test that has come to what FerretDB 1.24 does not have.
func beyondFerretDB(t *testing.T, c *mongo.Collection, what string) {
	t.Helper()
	if strings.HasPrefix(c.Database().Name(), prefix) && os.Getenv("KEYSTORE_TEST_MONGODB_URL") == "" {
		t.Skip("FerretDB does not have " + what)
	}
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
