package testserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

// MongoCollection returns the URL of a collection of the test's own, whose name
// begins with name, on the server of [MongoURL]. It is removed when the test ends.
func MongoCollection(tb testing.TB, name string) string {
	tb.Helper()
	rawURL := MongoURL(tb)
	name += "-" + strings.ToLower(rand.Text()[:8])
	tb.Cleanup(func() {
		if err := dropCollection(rawURL, name); err != nil {
			tb.Errorf("removing the collection %s: %v", name, err)
		}
	})
	return WithParameter(rawURL, "collection", name)
}

func dropCollection(rawURL, name string) error {
	parts, err := connstring.Parse(rawURL)
	if err != nil {
		return err
	}
	client, err := mongo.Connect(options.Client().ApplyURI(rawURL))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer client.Disconnect(ctx) //nolint:errcheck // it is of no use any more
	return client.Database(cmp.Or(parts.Database, "keystore")).Collection(name).Drop(ctx)
}

// WithParameter adds a parameter to a URL that may have some, and may name several
// hosts.
func WithParameter(rawURL, name, value string) string {
	separator := "?"
	if strings.Contains(rawURL, "?") {
		separator = "&"
	}
	return rawURL + separator + name + "=" + value
}
