package conformance_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
)

// What TestLive does to a deployment, done to servers whose contents are known.

func TestADeploymentInRedisIsLeftAsItWas(t *testing.T) {
	server := testserver.StartRedis(t)
	client := server.Client()
	require.NoError(t, client.Set(t.Context(), "precious", "1", 0).Err())
	t.Run("suite", func(t *testing.T) { conformance.Run(t, live(t, server.URL()+"?namespace=precious")) })
	left, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Equal(t, []string{"precious"}, left)
}

func TestADeploymentInMongoDBIsLeftAsItWas(t *testing.T) {
	server := mongowire.Start(t, mongowire.Memory().Handle, mongowire.Primary)
	client, err := mongo.Connect(options.Client().ApplyURI(server.URL()))
	require.NoError(t, err)
	defer client.Disconnect(context.Background())
	db := client.Database("mine")
	_, err = db.Collection("precious").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "1"}})
	require.NoError(t, err)
	t.Run("check", func(t *testing.T) {
		checkStores(t, live(t, strings.TrimSuffix(server.URL(), "/")+"/mine?linearizable=1&Collection=precious"))
	})
	left, err := db.ListCollectionNames(t.Context(), bson.D{})
	require.NoError(t, err)
	require.Equal(t, []string{"precious"}, left)
	n, err := db.Collection("precious").EstimatedDocumentCount(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(1), n)
}

// checkStores uses two stores, one of them through two handles. The suite would
// take longer here, and show nothing that the tests of the drivers do not.
func checkStores(t *testing.T, open conformance.Opener) {
	a, b, other := open(t, "a"), open(t, "a"), open(t, "b")
	require.NoError(t, a.Create(t.Context(), backend.Record{ID: "id", Owner: "o", Data: []byte("1")}))
	_, err := b.Get(t.Context(), "id")
	require.NoError(t, err)
	_, err = other.Get(t.Context(), "id")
	require.ErrorIs(t, err, backend.ErrNotFound)
	for _, handle := range []backend.Backend{a, b, other} {
		require.NoError(t, handle.Close())
	}
}

func TestADeploymentInAFolderIsLeftAsItWas(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	t.Run("check", func(t *testing.T) { checkStores(t, live(t, "badger://"+filepath.ToSlash(dir))) })
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{precious}, left)
}

func TestWithParameter(t *testing.T) {
	for rawURL, want := range map[string]string{
		"redis://h/0":                "redis://h/0?namespace=x",
		"redis://h/0?":               "redis://h/0?namespace=x",
		"redis://h/0?namespace=mine": "redis://h/0?namespace=x",
		"redis+cluster://u:p@a:1,b:2?db=0&Namespace=&": "redis+cluster://u:p@a:1,b:2?namespace=x&db=0",
		"mongodb://a,b/db?w=majority&namespaces=1":     "mongodb://a,b/db?namespace=x&w=majority&namespaces=1",
	} {
		require.Equal(t, want, withParameter(rawURL, "namespace", "x"))
	}
}
