package mongo_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

// The server inside the process is atomic, as MongoDB is, and its three roles are
// what the client library tells apart.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, role := range map[string]mongowire.Role{
		"standalone":  mongowire.Standalone,
		"replica set": mongowire.Primary,
		"router":      mongowire.Mongos,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, opener(connect(t, startWire(t, role).URL())))
		})
	}
	t.Run("by URL", func(t *testing.T) {
		t.Parallel()
		url := startWire(t, mongowire.Primary).URL()
		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
			b, err := backend.Open(context.Background(), url+"?linearizable=1&collection="+name, nil)
			require.NoError(tb, err)
			return unwatched{b, b.(backend.Counter), b.(backend.Meter)}
		})
	})
}

// unwatched is a store without Watch, which polls every second if it was opened by URL.
type unwatched struct {
	backend.Backend
	backend.Counter
	backend.Meter
}

func TestConformanceFerretDB(t *testing.T) {
	t.Parallel()
	client := connect(t, testserver.MongoURL(t))
	t.Cleanup(func() { require.NoError(t, client.Database("conformance").Drop(context.Background())) })
	conformance.Run(t, opener(client))
}

// opener opens stores that are collections of one database.
func opener(client *mongodb.Client) conformance.Opener {
	return func(tb testing.TB, name string) backend.Backend {
		b, err := mongo.New(client.Database("conformance").Collection(name), &mongo.Options{PollInterval: poll})
		require.NoError(tb, err)
		return b
	}
}
