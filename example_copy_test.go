package keystore_test

import (
	"context"
	"fmt"
	"log"

	"example.com/keystore"
	"example.com/keystore/memory"
)

// A program moves its keys to another store, and tokens go on working.
func ExampleCopy() {
	ctx := context.Background()
	from, to := memory.New(), memory.New() // backend.Open opens stores by URL
	old, err := keystore.New(from, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer old.Close()
	token, _, err := old.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	if err != nil {
		log.Fatal(err)
	}

	result, err := keystore.Copy(ctx, from, to, nil)
	if err != nil {
		log.Fatal(err) // call it again, with After: result.Last or from the start
	}
	compared, err := keystore.Compare(ctx, from, to, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("created:", result.Created, "different:", compared.Different())

	moved, err := keystore.New(to, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer moved.Close()
	key, err := moved.Lookup(ctx, token.Reveal())
	fmt.Println(key.Owner, err)
	// Output:
	// created: 1 different: 0
	// alice <nil>
}
