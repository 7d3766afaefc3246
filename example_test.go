package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"example.com/keystore"
	"example.com/keystore/memory"
)

// A clock that stands still keeps the examples' output the same.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newStore(now *time.Time) *keystore.Keystore {
	ks, err := keystore.New(memory.New(), &keystore.Options{Prefix: "sk_test", Now: func() time.Time { return *now }})
	if err != nil {
		log.Fatal(err)
	}
	return ks
}

func Example() {
	ctx := context.Background()
	now := noon
	ks := newStore(&now) // a program that keeps its keys calls keystore.Open with the URL of a store
	defer ks.Close()

	token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:*"}, TTL: 90 * 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	// token.Reveal() is shown to alice, this once.

	found, err := ks.Lookup(ctx, token.Reveal(), "orders:read")
	fmt.Println(found.Owner, found.ID == key.ID, err)

	_, err = ks.Lookup(ctx, token.Reveal(), "users:delete")
	fmt.Println(errors.Is(err, keystore.ErrMissingScope), err)

	ks.Revoke(ctx, key.ID, "laptop lost")
	_, err = ks.Lookup(ctx, token.Reveal(), "orders:read")
	fmt.Println(errors.Is(err, keystore.ErrUnauthenticated), err)
	// Output:
	// alice true <nil>
	// true missing scope: users:delete
	// true invalid API key: revoked
}

func ExampleOpen() {
	ctx := context.Background()
	ks, err := keystore.Open(ctx, "memory://", nil) // or "badger:///var/lib/myapp/keys"
	if err != nil {
		log.Fatal(err)
	}
	defer ks.Close()
	fmt.Println(ks.Ping(ctx))
	// Output: <nil>
}

func ExampleKeystore_Rotate() {
	ctx := context.Background()
	now := noon
	ks := newStore(&now)
	defer ks.Close()
	old, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	if err != nil {
		log.Fatal(err)
	}

	fresh, key, err := ks.Rotate(ctx, key.ID, time.Hour, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("generation", key.Generation, "grace until", key.GraceUntil.Format(time.TimeOnly))

	for _, at := range []time.Duration{59 * time.Minute, time.Hour} {
		now = noon.Add(at)
		_, oldErr := ks.Lookup(ctx, old.Reveal())
		_, newErr := ks.Lookup(ctx, fresh.Reveal())
		fmt.Println(at, "old:", oldErr, "new:", newErr)
	}
	// Output:
	// generation 2 grace until 13:00:00
	// 59m0s old: <nil> new: <nil>
	// 1h0m0s old: invalid API key: expired new: <nil>
}

func ExampleKeystore_Lookup_reason() {
	ctx := context.Background()
	now := noon
	ks := newStore(&now)
	defer ks.Close()
	token, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", TTL: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	now = noon.Add(time.Hour)

	_, err = ks.Lookup(ctx, token.Reveal())
	var refused *keystore.LookupError
	if errors.As(err, &refused) {
		fmt.Println(refused.Reason, "key of", refused.Owner) // for the log
	}
	fmt.Println(keystore.ErrUnauthenticated) // for the client
	// Output:
	// expired key of alice
	// invalid API key
}

func ExampleKeystore_Update() {
	ctx := context.Background()
	now := noon
	ks := newStore(&now)
	defer ks.Close()
	_, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}})
	if err != nil {
		log.Fatal(err)
	}
	key, err = ks.Update(ctx, key.ID, func(c *keystore.Changes) error {
		c.Name = "nightly export"
		c.Scopes = append(c.Scopes, "invoices:read")
		return nil
	})
	fmt.Println(key.Name, key.Scopes, err)
	// Output: nightly export invoices:read orders:read <nil>
}

func ExampleKeystore_ForOwner() {
	ctx := context.Background()
	now := noon
	ks := newStore(&now)
	defer ks.Close()
	_, hers, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = ks.ForOwner("bob").Revoke(ctx, hers.ID, "")
	fmt.Println(errors.Is(err, keystore.ErrNotFound))
	// Output: true
}

func ExampleKeystore_All() {
	ctx := context.Background()
	now := noon
	ks := newStore(&now)
	defer ks.Close()
	for _, name := range []string{"first", "second"} {
		if _, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Name: name}); err != nil {
			log.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	for key, err := range ks.All(ctx, "alice") {
		fmt.Println(key.Name, key.State(now), err)
	}
	// Output:
	// first active <nil>
	// second active <nil>
}

func ExampleHMAC() {
	ring := map[string][]byte{"2026-11": []byte("at least 32 bytes from a secret store")}
	pepper, err := keystore.HMAC("2026-11", ring)
	if err != nil {
		log.Fatal(err)
	}
	ks, err := keystore.New(memory.New(), &keystore.Options{
		Hash:       pepper,                               // new keys
		AcceptHash: []keystore.Hasher{keystore.SHA256()}, // keys from before
		Rehash:     true,                                 // and these move over as they are used
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ks.Close()
	fmt.Println(pepper)
	// Output: HMAC-SHA-256(current key 2026-11 of 1)
}
