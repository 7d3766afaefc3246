package crash

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.com/keystore"
	"example.com/keystore/badger"
)

// A filling child is told what to do, one order at a time, and answers each.
const (
	orderWrite  = "write"  // generate keys until it fails, at most 200
	orderLookUp = "lookup" // look all of them up, and list them
	orderClose  = "close"
)

// filled is what a filling child says: a token for every key that was
// acknowledged, and at the end of an order how it ended.
type filled struct {
	Token string
	Done  bool
	Error string
	Told  bool // the error is ErrNoSpace
}

// fillDiskUp does with the store in a folder as it is told. Its argument is
// the reserve of disk space, a colon and the folder.
func fillDiskUp(argument string) error {
	var reserve int64
	var dir string
	if _, err := fmt.Sscanf(strings.Replace(argument, ":", " ", 1), "%d %s", &reserve, &dir); err != nil {
		return err
	}
	b, err := badger.Open(dir, &badger.Options{Reserve: reserve})
	if err != nil {
		return err
	}
	ks, err := keystore.New(b, &keystore.Options{TouchInterval: keystore.Never, PurgeInterval: keystore.Never})
	if err != nil {
		return err
	}
	f := &filler{ks: ks, b: b}
	for {
		var order string
		if err := hear(&order); err != nil {
			return err
		}
		err := f.obey(order)
		end := filled{Done: true, Told: errors.Is(err, badger.ErrNoSpace)}
		if err != nil {
			end.Error = err.Error()
		}
		if err := say(end); err != nil {
			return err
		}
	}
}

type filler struct {
	ks     *keystore.Keystore
	b      *badger.Backend
	tokens []string
}

func (f *filler) obey(order string) error {
	ctx, cancel := context.WithTimeout(context.Background(), childLife)
	defer cancel()
	switch order {
	case orderWrite:
		for range 200 {
			token, _, err := f.ks.Generate(ctx, largeKey())
			if err != nil {
				return err
			}
			f.tokens = append(f.tokens, token.Reveal())
			if err := say(filled{Token: token.Reveal()}); err != nil {
				return err
			}
		}
		return nil
	case orderLookUp:
		return lookUpAll(ctx, f.ks, f.tokens)
	case orderClose:
		return errors.Join(f.ks.Close(), f.b.Close())
	}
	return errors.New("no such order")
}

// largeKey takes about 16 KiB.
func largeKey() keystore.KeyParams {
	return keystore.KeyParams{Owner: "owner", Metadata: map[string]string{"padding": strings.Repeat("x", 15<<10)}}
}

// lookUpAll checks that the store accepts exactly these tokens, and lists their keys.
func lookUpAll(ctx context.Context, ks *keystore.Keystore, tokens []string) error {
	for _, token := range tokens {
		if _, err := ks.Lookup(ctx, token); err != nil {
			return err
		}
	}
	n := 0
	for _, err := range ks.All(ctx, "owner") {
		if err != nil {
			return err
		}
		n++
	}
	if n != len(tokens) {
		return fmt.Errorf("%d keys are listed, and %d tokens known", n, len(tokens))
	}
	return nil
}
