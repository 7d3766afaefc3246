package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/redis"
)

// startFake starts a server that answers GET, scripts and ranges as it is told.
func startFake(t *testing.T, answers map[string]func(w *server.Peer, args []string)) *redis.Backend {
	t.Helper()
	fake, err := server.NewServer("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	for name, answer := range answers {
		require.NoError(t, fake.Register(name, func(w *server.Peer, _ string, args []string) { answer(w, args) }))
	}
	return handleOn(t, clientOf(t, &goredis.Options{Addr: fake.Addr().String(), MaxRetries: -1}), nil)
}

// A reply that belongs to another key, which a client library or a proxy in disorder
// may deliver, authenticates nobody.
func TestReplyOfAnotherKey(t *testing.T) {
	ctx := testContext(t)
	client := clientOf(t, miniOptions(t))
	ks := newKeystore(t, handleOn(t, client, nil))
	mine, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"a:b"}})
	require.NoError(t, err)
	other, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"a:b"}})
	require.NoError(t, err)
	value := client.Get(ctx, keyOf(mine.ID())).Val()
	require.NotEmpty(t, value)
	fake := newKeystore(t, startFake(t, map[string]func(*server.Peer, []string){
		"GET": func(w *server.Peer, _ []string) { w.WriteBulk(value) },
	}))
	got, err := fake.Lookup(ctx, mine.Reveal())
	require.NoError(t, err, "or the test would show nothing")
	require.Equal(t, mine.ID(), got.ID)
	_, err = fake.Lookup(ctx, other.Reveal())
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	_, err = fake.Get(ctx, other.ID())
	require.ErrorIs(t, err, keystore.ErrCorrupt)
}

func newKeystore(t testing.TB, b backend.Backend) *keystore.Keystore {
	t.Helper()
	ks, err := keystore.New(b, &keystore.Options{TouchInterval: keystore.Never, PurgeInterval: keystore.Never, UsageInterval: keystore.Never})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ks.Close()) })
	return ks
}

// Replies of any other form than they should have are outages, never an answer and
// never a panic.
func TestRepliesOfAnotherForm(t *testing.T) {
	t.Parallel()
	forms := map[string]func(w *server.Peer, args []string){
		"a number":          func(w *server.Peer, _ []string) { w.WriteInt(1) },
		"text":              func(w *server.Peer, _ []string) { w.WriteBulk("yes") },
		"a status":          func(w *server.Peer, _ []string) { w.WriteOK() },
		"nothing in a list": func(w *server.Peer, _ []string) { w.WriteLen(0) },
		"a list of nothing": func(w *server.Peer, _ []string) {
			w.WriteLen(1)
			w.WriteNull()
		},
		"a list of lists": func(w *server.Peer, _ []string) {
			w.WriteLen(2)
			w.WriteLen(0)
			w.WriteLen(0)
		},
		"the same for ever": func(w *server.Peer, _ []string) {
			w.WriteLen(100)
			for range 100 {
				w.WriteBulk("alice\x00id")
			}
		},
		"an error": func(w *server.Peer, _ []string) { w.WriteError("OOPS what is this") },
		"no reply of the protocol": func(w *server.Peer, _ []string) {
			w.Block(func(w *server.Writer) { w.WriteRaw("hello\r\n") })
		},
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startFake(t, map[string]func(*server.Peer, []string){
				"GET": form, "EVALSHA": form, "EVAL": form, "ZRANGEBYLEX": form, "ZRANGEBYSCORE": form, "INFO": form,
			})
			for _, m := range methods(b) {
				ctx, cancel := context.WithTimeout(testContext(t), 3*time.Second)
				err := m.call(ctx)
				cancel()
				switch m.name {
				case "Create", "Update", "Delete", "Spend", "ResetCounts":
					unknown(t, err)
				case "Get":
					if err == nil { // what is no record is a damaged one
						r, err := b.Get(testContext(t), "there")
						require.NoError(t, err)
						require.Equal(t, backend.Record{ID: "there"}, r)
					}
				case "Touch": // does not look at replies but for errors
				case "Counts", "Usage":
					require.Error(t, err, m.name)
				case "List", "AddUsage", "Purge", "PurgeCounts", "PurgeUsage":
					if name != "nothing in a list" {
						require.Error(t, err, m.name)
					}
				case "Watch", "Warnings":
					require.Error(t, err, m.name)
				}
				for _, answer := range []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed, backend.ErrNotApplied, backend.ErrDamagedTally} {
					require.False(t, errors.Is(err, answer), "%s: %v", m.name, err)
				}
			}
		})
	}
}
