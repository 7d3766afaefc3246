// Quickstart takes API keys through their whole life in a folder of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"example.com/keystore"
	_ "example.com/keystore/badger" // registers the scheme badger://
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "", "folder to keep the keys in; default: a temporary one, removed at the end")
	grace := flag.Duration("grace", 2*time.Second, "how long the old secret works after a rotation")
	flag.Parse()
	if err := run(context.Background(), *dir, *grace); err != nil {
		log.Fatal("quickstart: ", err)
	}
}

func run(ctx context.Context, dir string, grace time.Duration) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "keystore-quickstart-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	location := url.URL{Scheme: "badger", Path: filepath.ToSlash(dir)}
	ks, err := keystore.Open(ctx, location.String(), &keystore.Options{Prefix: "sk_test"})
	if err != nil {
		return err
	}
	defer ks.Close()
	fmt.Println("Opened a key store on Badger in", dir)

	if err := live(ctx, ks, grace); err != nil {
		return err
	}
	if err := ks.Close(); err != nil { // flushes last-used times; an error says what was lost
		return err
	}
	fmt.Println("Closed the store; every change above is on disk.")
	return nil
}

// live is the life of one key.
func live(ctx context.Context, ks *keystore.Keystore, grace time.Duration) error {
	first, key, err := ks.Generate(ctx, keystore.KeyParams{
		Owner:  "alice",
		Name:   "laptop",
		Scopes: []string{"orders:*", "invoices:read"},
		TTL:    90 * 24 * time.Hour,
	})
	if err != nil {
		return err
	}
	fmt.Printf("Generated key %s for %s, scopes [%s], valid until %s.\n", key.ID, key.Owner, key.Scopes, day(key.ExpiresAt))
	fmt.Println("Its token, shown this once:", first.Reveal())
	fmt.Println("The same token in a log line:", first)

	fmt.Println("A request that needs orders:read is", verdict(ks.Lookup(ctx, first.Reveal(), "orders:read")))
	fmt.Println("A request that needs users:write is", verdict(ks.Lookup(ctx, first.Reveal(), "users:write")))
	fmt.Println("A request with a mistyped token is", verdict(ks.Lookup(ctx, first.Reveal()+"x", "orders:read")))

	second, key, err := ks.Rotate(ctx, key.ID, grace, nil)
	if err != nil {
		return err
	}
	fmt.Printf("Rotated: generation %d; the old secret works for %v more.\n", key.Generation, grace)
	fmt.Println("During the grace period the new secret is", verdict(ks.Lookup(ctx, second.Reveal())))
	fmt.Println("During the grace period the old secret is", verdict(ks.Lookup(ctx, first.Reveal())))
	time.Sleep(time.Until(key.GraceUntil))
	fmt.Println("After the grace period the new secret is", verdict(ks.Lookup(ctx, second.Reveal())))
	fmt.Println("After the grace period the old secret is", verdict(ks.Lookup(ctx, first.Reveal())))

	if _, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Name: "phone"}); err != nil {
		return err
	}
	if err := list(ctx, ks, "alice"); err != nil {
		return err
	}

	if _, err := ks.Revoke(ctx, key.ID, "laptop lost"); err != nil {
		return err
	}
	fmt.Println("Revoked", key.ID)
	fmt.Println("A request with its token is", verdict(ks.Lookup(ctx, second.Reveal())))
	return list(ctx, ks, "alice")
}

func list(ctx context.Context, ks *keystore.Keystore, owner string) error {
	fmt.Println("Keys of", owner+":")
	for key, err := range ks.All(ctx, owner) {
		if err != nil {
			return err
		}
		line := fmt.Sprintf("  %s  %-6s  %-7s  expires %s", key.ID, key.Name, key.State(time.Now()), day(key.ExpiresAt))
		if key.RevokeReason != "" {
			line += "  (" + key.RevokeReason + ")"
		}
		fmt.Println(line)
	}
	return nil
}

func verdict(key keystore.Key, err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	return "accepted, for " + key.Owner
}

func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.DateOnly)
}
