package mongo_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/internal/drivertest"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

func TestMain(m *testing.M) { drivertest.Main(m) }

// poll is short, so that tests of Watch are.
const poll = 20 * time.Millisecond

// How long a test waits for what must happen, and how often it looks.
const (
	waitLimit = 20 * time.Second
	waitTick  = 2 * time.Millisecond
)

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// wire is a server inside the process: a store that is atomic, in front of it
// what breaks commands, and in front of that what records them.
type wire struct {
	*mongowire.Server
	store  *mongowire.Store
	faults *mongowire.Faults
	sent   *mongowire.Recorder
}

func startWire(t testing.TB, role ...mongowire.Role) *wire {
	t.Helper()
	w := &wire{store: mongowire.Memory()}
	w.faults = mongowire.NewFaults(w.store.Handle)
	w.sent = mongowire.Record(w.faults.Handle)
	w.Server = mongowire.Start(t, w.sent.Handle, role...)
	return w
}

// documents returns what the store of open holds.
func (w *wire) documents() []bson.Raw { return w.store.Documents("test.keys") }

// document returns the only document.
func (w *wire) document(t testing.TB) bson.Raw {
	t.Helper()
	all := w.documents()
	require.Len(t, all, 1)
	return all[0]
}

// open returns a handle that New made, on the collection "keys" of the database
// "test".
func (w *wire) open(t testing.TB, o *mongo.Options) *mongo.Backend {
	t.Helper()
	return newBackend(t, connect(t, w.URL()).Database("test").Collection("keys"), o)
}

func newBackend(t testing.TB, coll *mongodb.Collection, o *mongo.Options) *mongo.Backend {
	t.Helper()
	if o == nil {
		o = &mongo.Options{PollInterval: poll}
	}
	b, err := mongo.New(coll, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// connect returns a client that ends with the test.
func connect(t testing.TB, url string, more ...*options.ClientOptions) *mongodb.Client {
	t.Helper()
	all := append([]*options.ClientOptions{options.Client().ApplyURI(url).SetServerSelectionTimeout(10 * time.Second)}, more...)
	client, err := mongodb.Connect(all...)
	require.NoError(t, err)
	t.Cleanup(func() {
		gone, cancel := context.WithCancel(context.Background())
		cancel() // connections that hang are not waited for
		_ = client.Disconnect(gone)
	})
	return client
}

// d makes a document of names and values.
func d(pairs ...any) bson.D {
	doc := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		doc = append(doc, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return doc
}

// servers are an empty collection on each server that tests of the format use.
func servers(t *testing.T, name string) map[string]*mongodb.Collection {
	t.Helper()
	ferret := connect(t, testserver.MongoURL(t)).Database(name).Collection("keys")
	t.Cleanup(func() { require.NoError(t, ferret.Database().Drop(context.Background())) })
	return map[string]*mongodb.Collection{
		"wire":     connect(t, startWire(t, mongowire.Primary).URL()).Database("test").Collection("keys"),
		"FerretDB": ferret,
	}
}
