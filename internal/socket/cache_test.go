package socket_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

// TestChangesHoldInTheCacheOfTheServer: the store cannot tell of changes, and the
// server's cache keeps keys for an hour; only changed can make it read again.
func TestChangesHoldInTheCacheOfTheServer(t *testing.T) {
	store := plain{memory.New()}
	server, err := keystore.New(store, &keystore.Options{CacheTTL: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	path, _ := serveHandler(t, socket.Handler(store, func(ctx context.Context, id string) { _, _ = server.Get(ctx, id) }))
	beside, err := keystore.New(open(t, path), &keystore.Options{CacheSize: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, beside.Close()) })
	ctx := t.Context()

	for name, c := range map[string]struct {
		change func(id string) error
		want   error
	}{
		"revoke": {func(id string) error { _, err := beside.Revoke(ctx, id, ""); return err }, keystore.ErrRevoked},
		"delete": {func(id string) error { return beside.Delete(ctx, id) }, keystore.ErrUnauthenticated},
		"rotate": {func(id string) error { _, _, err := beside.Rotate(ctx, id, 0, nil); return err }, keystore.ErrExpired},
		"expire": {func(id string) error { _, err := beside.Expire(ctx, id, time.Now()); return err }, keystore.ErrExpired},
		"disable": {func(id string) error {
			_, err := beside.Update(ctx, id, func(c *keystore.Changes) error { c.Disabled = true; return nil })
			return err
		}, keystore.ErrDisabled},
		"scopes": {func(id string) error {
			_, err := beside.Update(ctx, id, func(c *keystore.Changes) error { c.Scopes = nil; return nil })
			return err
		}, keystore.ErrMissingScope},
	} {
		t.Run(name, func(t *testing.T) {
			token, key, err := beside.Generate(ctx, keystore.KeyParams{Owner: "o", Scopes: []string{"a"}})
			require.NoError(t, err)
			look := func() error { _, err := server.Lookup(ctx, token.Reveal(), "a"); return err }
			require.NoError(t, look())
			var lookers sync.WaitGroup
			changed := make(chan struct{})
			for range 2 { // whose reads are under way while it is changed
				lookers.Go(func() {
					for {
						select {
						case <-changed:
							if err := look(); !errors.Is(err, c.want) {
								t.Errorf("after the change: %v", err)
							}
							return
						default:
							_ = look()
							runtime.Gosched()
						}
					}
				})
			}
			err = c.change(key.ID)
			close(changed)
			after := look()
			lookers.Wait()
			require.NoError(t, err)
			require.ErrorIs(t, after, c.want)
		})
	}
}
