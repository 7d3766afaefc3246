// Choose takes a key through the same steps in whatever store a URL names. It
// imports every driver, and nothing else in it knows which one it uses.
//
//	go run ./examples/choose
//	go run ./examples/choose -store badger:///tmp/keystore-choose
//	KEYSTORE_URL=redis://:password@localhost:6379/0 go run ./examples/choose
//
// A URL with a password belongs in the environment: other users of the machine
// can read arguments.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"example.com/keystore"
	_ "example.com/keystore/badger" // each registers its schemes
	_ "example.com/keystore/memory"
	_ "example.com/keystore/mongo"
	_ "example.com/keystore/redis"
)

func main() {
	log.SetFlags(0)
	store := flag.String("store", "", "`URL` of the store; KEYSTORE_URL; default memory://")
	flag.Parse()
	storeURL := cmp.Or(*store, os.Getenv("KEYSTORE_URL"), "memory://")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, storeURL); err != nil {
		log.Fatal("choose: ", err) // no error holds a part of the URL
	}
}

func run(ctx context.Context, out io.Writer, storeURL string) error {
	opening, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ks, err := keystore.Open(opening, storeURL, &keystore.Options{Prefix: "sk_test"})
	if err != nil {
		return err
	}
	defer ks.Close()
	scheme, _, _ := strings.Cut(storeURL, "://") // the rest may hold a password
	fmt.Fprintln(out, "Opened a store by", scheme+"://")

	owner := fmt.Sprintf("choose-%d", os.Getpid()) // the store may be one that others use too
	if err := live(ctx, out, ks, owner); err != nil {
		return err
	}
	return ks.Close() // flushes last-used times; an error says what was lost
}

// live is the life of one key.
func live(ctx context.Context, out io.Writer, ks *keystore.Keystore, owner string) error {
	first, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: owner, Name: "robot", Scopes: []string{"orders:*"}, TTL: time.Hour})
	if err != nil {
		return err
	}
	defer ks.Delete(ctx, key.ID) // leaves the store as it was
	fmt.Fprintln(out, "Generated", first, "with scopes", key.Scopes)
	fmt.Fprintln(out, "orders:read: ", verdict(ks.Lookup(ctx, first.Reveal(), "orders:read")))
	fmt.Fprintln(out, "users:write: ", verdict(ks.Lookup(ctx, first.Reveal(), "users:write")))

	second, key, err := ks.Rotate(ctx, key.ID, time.Minute, nil)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Rotated, generation", key.Generation)
	fmt.Fprintln(out, "new secret:  ", verdict(ks.Lookup(ctx, second.Reveal())))
	fmt.Fprintln(out, "old secret:  ", verdict(ks.Lookup(ctx, first.Reveal())))

	if _, err := ks.Revoke(ctx, key.ID, "the example ends"); err != nil {
		return err
	}
	fmt.Fprintln(out, "Revoked")
	fmt.Fprintln(out, "new secret:  ", verdict(ks.Lookup(ctx, second.Reveal())))

	fmt.Fprintln(out, "Keys of", owner+":")
	for k, err := range ks.All(ctx, owner) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, " ", k.ID, k.Name, k.State(time.Now()), "-", k.RevokeReason)
	}
	return nil
}

// verdict tells an outage from a refusal, as a server must.
func verdict(key keystore.Key, err error) string {
	switch reason := err.(type) {
	case nil:
		return "accepted, for " + key.Owner
	case *keystore.LookupError:
		return fmt.Sprintf("refused: %v (%s)", err, reason.Reason)
	}
	return err.Error()
}
