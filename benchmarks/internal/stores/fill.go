package stores

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// MaxTokens is how many tokens of a store are kept.
const MaxTokens = 200_000

// PerOwner is how many keys an owner of a filled store has, if it holds as many.
const PerOwner = 100

// Params are those of a key like a real program's. Its record takes about 270 bytes.
func Params(owner string) keystore.KeyParams {
	return keystore.KeyParams{
		Owner: owner, Name: "a key of some program",
		Scopes: []string{"orders:*", "invoices:read"}, TTL: 10 * 365 * 24 * time.Hour,
	}
}

// Scope is one that the keys have, and OtherScope one that they lack.
const (
	Scope      = "orders:read"
	OtherScope = "customers:read"
)

// Owner is one of the owners of a store of that many keys, any for each n.
func Owner(n, keys int) string { return fmt.Sprintf("customer-%d", n%max(1, keys/PerOwner)) }

// fill generates keys in a store and returns tokens in no order.
func fill(b backend.Backend, keys int) ([]string, error) {
	ks, err := keystore.New(b, &keystore.Options{
		TouchInterval: keystore.Never, PurgeInterval: keystore.Never, OpTimeout: time.Minute, CacheSize: -1,
	})
	if err != nil {
		return nil, err
	}
	every := max(1, (keys+MaxTokens-1)/MaxTokens)
	tokens := make([]string, (keys+every-1)/every)
	err = AtOnce(keys, func(i int) error {
		token, _, err := ks.Generate(context.Background(), Params(Owner(i, keys)))
		if err == nil && i%every == 0 {
			tokens[i/every] = token.Reveal()
		}
		return err
	})
	Shuffle(tokens)
	return tokens, errors.Join(err, ks.Close())
}

// AtOnce calls f for each number below n, by 64 callers at once.
func AtOnce(n int, f func(i int) error) error {
	const callers = 64
	failures := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < n && failures[c] == nil; i += callers {
				failures[c] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(failures...)
}

// Shuffle leaves texts in another order.
func Shuffle(texts []string) {
	rand.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
}
