package mongo_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/mongo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	client, err := mongodb.Connect(options.Client().ApplyURI(testserver.MongoURL(t)))
	require.NoError(t, err)
	db := client.Database("conformance")
	t.Cleanup(func() {
		ctx := context.Background()
		require.NoError(t, db.Drop(ctx))
		require.NoError(t, client.Disconnect(ctx))
	})
	conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
		b, err := mongo.New(db.Collection(name), &mongo.Options{PollInterval: 50 * time.Millisecond})
		require.NoError(tb, err)
		return b
	})
}
