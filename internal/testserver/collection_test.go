package testserver

import (
	"context"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// On a server of the user's, whose URL may have a database and parameters, nothing
// is left.
func TestMongoCollectionIsRemoved(t *testing.T) {
	server := StartFerretDB(t).URL()
	t.Setenv("KEYSTORE_TEST_MONGODB_URL", server+"named?appName=x")
	client, err := mongo.Connect(options.Client().ApplyURI(server))
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	collections := func() []string {
		names, err := client.Database("named").ListCollectionNames(t.Context(), bson.D{})
		require.NoError(t, err)
		return names
	}
	t.Run("a test", func(t *testing.T) {
		u, err := url.Parse(MongoCollection(t, "keys"))
		require.NoError(t, err)
		assert.Equal(t, "x", u.Query().Get("appName"))
		name := u.Query().Get("collection")
		assert.Contains(t, name, "keys-")
		require.NoError(t, client.Database("named").CreateCollection(t.Context(), name))
		assert.Equal(t, []string{name}, collections())
	})
	assert.Empty(t, collections())
}
