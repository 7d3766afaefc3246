package redis_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
	"example.com/keystore/redis" // the schemes need only: import _ "example.com/keystore/redis"
)

// A program that uses Redis already keeps its keys through the same client.
func ExampleNew() {
	server, err := miniredis.Run() // in the process, for this example
	if err != nil {
		panic(err)
	}
	defer server.Close()

	client := goredis.NewClient(&goredis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close() // after the backend
	b, err := redis.New(client, &redis.Options{Namespace: "apikeys"})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	_, err = b.Get(context.Background(), "id")
	fmt.Println(errors.Is(err, backend.ErrNotFound))
	// Output: true
}

// The schemes are known wherever the package is imported, if only with _.
func Example_url() {
	server, err := miniredis.Run() // in the process, for this example
	if err != nil {
		panic(err)
	}
	defer server.Close()

	ctx := context.Background()
	b, err := backend.Open(ctx, "redis://"+server.Addr()+"/0?namespace=apikeys", nil)
	if err != nil {
		panic(err)
	}
	defer b.Close()

	_, err = b.Get(ctx, "id")
	fmt.Println(errors.Is(err, backend.ErrNotFound))
	// Output: true
}
