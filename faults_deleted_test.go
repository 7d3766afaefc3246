package keystore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// A change that happened, whose reply was lost, and whose key another caller
// deleted before it was sent again or looked for: "no such key" would say that it
// never happened, and a token that was live would not be returned.
func TestAChangeOfAKeyThatIsDeletedBeforeItsReply(t *testing.T) {
	for name, lost := range map[string]func(deleted func()) faulty.Fault{
		"the reply is lost": func(deleted func()) faulty.Fault {
			return func(ctx context.Context, do faulty.Do) error {
				if err := do(ctx); err != nil {
					return err
				}
				deleted()
				return errors.New("the connection broke")
			}
		},
		"a client library repeats it unseen": func(deleted func()) faulty.Fault { return faulty.Repeat(deleted) },
		"the conflict is with itself": func(deleted func()) faulty.Fault {
			return func(ctx context.Context, do faulty.Do) error {
				if err := do(ctx); err != nil {
					return err
				}
				deleted()
				return backend.ErrConflict // of a repeat that the driver did not see
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			store := memory.New()
			plain := newStoreOn(t, store, keystore.Options{})
			_, key := generate(t, plain)
			seen := keystore.Key{}
			ks := newStoreOn(t, faulty.New(store, func(c faulty.Call) faulty.Fault {
				if c.Method != faulty.Update || c.N > 1 {
					return nil
				}
				return lost(func() {
					var err error
					seen, err = plain.Get(ctx, key.ID)
					require.NoError(t, err)
					require.NoError(t, plain.Delete(ctx, key.ID))
				})
			}), keystore.Options{})
			token, _, err := ks.Rotate(ctx, key.ID, time.Hour, nil)
			require.Equal(t, 2, seen.Generation, "the rotation happened")
			require.ErrorIs(t, err, keystore.ErrUnknownOutcome)
			require.NotErrorIs(t, err, keystore.ErrNotFound)
			require.False(t, token.IsZero())

			n, err := ks.RevokeAll(ctx, key.Owner, "")
			require.NoError(t, err)
			require.Zero(t, n)
			_, err = ks.Revoke(ctx, key.ID, "")
			require.ErrorIs(t, err, keystore.ErrNotFound, "the next call knows")
		})
	}
}

// To RevokeAll a key that is gone is one that works no more.
func TestRevokeAllOfAKeyThatIsDeletedBeforeItsReply(t *testing.T) {
	ctx := context.Background()
	store := memory.New()
	plain := newStoreOn(t, store, keystore.Options{})
	_, key := generate(t, plain)
	ks := newStoreOn(t, faulty.New(store, faulty.Nth(1, faulty.Update, faulty.Repeat(func() {
		require.NoError(t, plain.Delete(ctx, key.ID))
	}))), keystore.Options{})
	_, err := ks.RevokeAll(ctx, key.Owner, "")
	require.NoError(t, err)
}
