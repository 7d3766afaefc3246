package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/keystore"
	_ "example.com/keystore/mongo"
	_ "example.com/keystore/redis"
)

// What each key has in the beginning; readers need the scope of writing, which
// narrowing takes away.
const (
	reading = "orders:read"
	writing = "orders:write"
)

// changer is the process that makes the changes. It opens the store as programs do.
type changer struct {
	keys *keystore.Keystore
}

func openChanger(j job) (*changer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	keys, err := keystore.Open(ctx, j.URL, nil)
	if err != nil {
		return nil, err
	}
	return &changer{keys}, nil
}

func (c *changer) close() error { return c.keys.Close() }

func (c *changer) do(q request) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch q.Do {
	case "hello":
		return reply{Now: now()}, nil
	case "generate":
		keys, err := c.generate(ctx, q.Count)
		return reply{Keys: keys}, err
	case "change":
		made, err := c.change(ctx, q.Keys[0])
		return reply{Change: made}, err
	case "verify":
		lost, err := c.verify(ctx, q.Keys)
		return reply{Keys: lost}, err
	}
	return reply{}, fmt.Errorf("a changer cannot %s", q.Do)
}

// generate makes n keys for each kind of change.
func (c *changer) generate(ctx context.Context, n int) ([]key, error) {
	var keys []key
	for i := range n {
		for _, kind := range kinds {
			k, err := c.generateOne(ctx, kind)
			for errors.Is(err, keystore.ErrUnavailable) && ctx.Err() == nil { // FerretDB refuses a write amid many reads
				k, err = c.generateOne(ctx, kind)
			}
			if err != nil {
				return nil, err
			}
			k.Flood = kind == renew && i%2 == 1
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (c *changer) generateOne(ctx context.Context, k kind) (key, error) {
	token, made, err := c.keys.Generate(ctx, keystore.KeyParams{Owner: "fleet", Scopes: []string{reading, writing}})
	if err != nil {
		return key{}, err
	}
	return key{ID: made.ID, Token: token.Reveal(), Kind: k}, nil
}

// change makes the change of a key, again and again until it succeeds.
func (c *changer) change(ctx context.Context, k key) (change, error) {
	made := change{Key: k, Called: now()}
	for {
		token, err := c.once(ctx, k)
		made.Returned = now()
		made.Tries++
		switch {
		case err == nil, k.Kind == remove && made.Tries > 1 && errors.Is(err, keystore.ErrNotFound):
			made.NewToken = token.Reveal()
			return made, nil
		case !errors.Is(err, keystore.ErrUnavailable):
			return change{}, fmt.Errorf("%s: %w", k.Kind, err)
		}
		select {
		case <-ctx.Done():
			return change{}, fmt.Errorf("%s: %w", k.Kind, err)
		case <-time.After(time.Millisecond): // the server is away
		}
	}
}

func (c *changer) once(ctx context.Context, k key) (token keystore.Token, err error) {
	switch k.Kind {
	case revoke:
		_, err = c.keys.Revoke(ctx, k.ID, "")
	case rotate, renew:
		token, _, err = c.keys.Rotate(ctx, k.ID, 0, nil)
	case disable:
		_, err = c.keys.Update(ctx, k.ID, func(c *keystore.Changes) error {
			c.Disabled = true
			return nil
		})
	case narrow:
		_, err = c.keys.Update(ctx, k.ID, func(c *keystore.Changes) error {
			c.Scopes = []string{reading}
			return nil
		})
	case remove:
		err = c.keys.Delete(ctx, k.ID)
	default:
		err = fmt.Errorf("no change is called %q", k.Kind)
	}
	return token, err
}

// verify returns the keys that do not show in the store what was done with them: of
// a change that the store lost nobody can hear. Lookup is no judge here, since it
// caches.
func (c *changer) verify(ctx context.Context, keys []key) (lost []key, err error) {
	for _, k := range keys {
		found, err := c.keys.Get(ctx, k.ID)
		if err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return nil, err
		}
		if !shows(k.Kind, found, err == nil) {
			lost = append(lost, k)
		}
	}
	return lost, nil
}

func shows(k kind, found keystore.Key, exists bool) bool {
	switch k {
	case revoke:
		return exists && !found.RevokedAt.IsZero()
	case rotate, renew:
		return exists && found.Generation > 1
	case disable:
		return exists && found.Disabled
	case narrow:
		return exists && !found.Scopes.Has(writing)
	}
	return !exists
}
