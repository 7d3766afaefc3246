package badger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/badger" // the scheme needs only: import _ "example.com/keystore/badger"
)

func ExampleOpen() {
	folder, err := os.MkdirTemp("", "keys")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)

	b, err := badger.Open(filepath.Join(folder, "keys"), nil)
	if err != nil {
		panic(err)
	}
	defer b.Close()

	_, err = badger.Open(filepath.Join(folder, "keys"), nil)
	var locked *badger.LockedError
	fmt.Println(errors.As(err, &locked), locked.PID == os.Getpid())
	// Output: true true
}

// A program that uses Badger already keeps its keys in the same database.
func ExampleNew() {
	db, err := badgerdb.Open(badgerdb.DefaultOptions("").WithInMemory(true).WithLogger(nil))
	if err != nil {
		panic(err)
	}
	defer db.Close() // after the backend

	b, err := badger.New(db, &badger.Options{Namespace: "apikeys/"})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	ctx := context.Background()
	if err := b.Create(ctx, backend.Record{ID: "id", Owner: "alice", Data: []byte("opaque")}); err != nil {
		panic(err)
	}
	r, err := b.Get(ctx, "id")
	fmt.Println(r.Owner, r.Revision, err)
	// Output: alice 1 <nil>
}

// The scheme is known wherever the package is imported, if only with _.
func Example_url() {
	ctx := context.Background()
	b, err := backend.Open(ctx, "badger://?memory=1", nil)
	if err != nil {
		panic(err)
	}
	defer b.Close()

	_, err = b.Get(ctx, "id")
	fmt.Println(errors.Is(err, backend.ErrNotFound))
	// Output: true
}
