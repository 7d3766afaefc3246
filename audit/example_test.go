package audit_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	"example.com/keystore"
	"example.com/keystore/audit"
	"example.com/keystore/memory"
)

func ExampleOpenFile() {
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys.jsonl")
	trail, err := audit.OpenFile(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	ks, err := keystore.New(memory.New(), &keystore.Options{Audit: trail})
	if err != nil {
		log.Fatal(err)
	}
	ctx := keystore.WithActor(context.Background(), "bob")
	token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := ks.Revoke(ctx, key.ID, "left the company"); err != nil {
		log.Fatal(err)
	}
	for range 20 {
		_, err = ks.Lookup(ctx, token.Reveal())
	}
	fmt.Println(err)
	ks.Close() // delivers what waits
	trail.Close()

	f, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for e, err := range audit.Read(f) {
		if err != nil {
			log.Fatal(err) // or go on: it is about one line
		}
		fmt.Printf("%s %s (%s%s) %d\n", e.Action, e.Outcome, e.Reason, e.Detail, e.Count)
	}
	// Output:
	// invalid API key: revoked
	// generate done () 1
	// revoke done (left the company) 1
	// lookup refused (revoked) 1
	// lookup refused (revoked) 19
}

func ExampleSlog() {
	plain := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "key_id" {
			return slog.Attr{} // so that this example's output is the same each time
		}
		return a
	}}))
	ks, err := keystore.New(memory.New(), &keystore.Options{Audit: audit.Slog(plain, nil)})
	if err != nil {
		log.Fatal(err)
	}
	ctx := keystore.WithRequestID(keystore.WithActor(context.Background(), "bob"), "req-7")
	if _, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"}); err != nil {
		log.Fatal(err)
	}
	_, err = ks.Lookup(ctx, "what?")
	ks.Close() // delivers what waits
	fmt.Println(err)
	// Output:
	// level=INFO msg=audit action=generate outcome=done owner=alice actor=bob request_id=req-7 generation=1 revision=1 count=1
	// level=WARN msg=audit action=lookup outcome=refused actor=bob request_id=req-7 reason=malformed count=1
	// invalid API key
}
