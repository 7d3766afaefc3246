package mongo_test

import (
	"context"
	"fmt"
	"testing"

	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo" // for a program that opens by URL: _ "example.com/keystore/mongo"
)

// exampleServer starts a server in this process; a program has the URL of its own.
func exampleServer() (url string, stop func()) {
	t := &exampleTest{}
	return mongowire.Start(t, mongowire.Memory().Handle, mongowire.Primary).URL(), func() { t.cleanup() }
}

type exampleTest struct {
	testing.TB
	cleanup func()
}

func (t *exampleTest) Helper()                   {}
func (t *exampleTest) Cleanup(f func())          { t.cleanup = f }
func (t *exampleTest) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (t *exampleTest) Errorf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func Example_open() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()

	// mongodb://user:password@host1,host2,host3/database?replicaSet=rs0&tls=true&collection=keys
	ks, err := keystore.Open(ctx, server+"shop?collection=api_keys", nil)
	if err != nil {
		panic(err)
	}
	defer ks.Close()

	token, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}})
	if err != nil {
		panic(err)
	}
	key, err := ks.Lookup(ctx, token.Reveal(), "orders:read")
	fmt.Println(key.Owner, err)
	// Output: alice <nil>
}

// A program that has a client of its own keeps it.
func ExampleNew() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()

	client, err := mongodb.Connect(options.Client().ApplyURI(server))
	if err != nil {
		panic(err)
	}
	defer client.Disconnect(ctx)

	b, err := mongo.New(client.Database("shop").Collection("api_keys"), &mongo.Options{Linearizable: true})
	if err != nil {
		panic(err)
	}
	defer b.Close()
	if err := b.EnsureIndexes(ctx); err != nil { // once, when it is installed
		panic(err)
	}

	err = b.Create(ctx, backend.Record{ID: "id", Owner: "alice", Data: []byte("data")})
	fmt.Println(err)
	r, err := b.Get(ctx, "id")
	fmt.Println(r.Owner, r.Revision, err)
	// Output:
	// <nil>
	// alice 1 <nil>
}
