package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/badger"
)

// badgerURL is the URL of a folder.
func badgerURL(dir string) string { return "badger://" + filepath.ToSlash(dir) }

func TestBadgerKeepsKeysOverAReopen(t *testing.T) {
	ctx, url := context.Background(), badgerURL(t.TempDir())
	ks, err := keystore.Open(ctx, url, nil)
	require.NoError(t, err)
	first, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:*"}, TTL: time.Hour})
	require.NoError(t, err)
	second, _, err := ks.Rotate(ctx, key.ID, time.Minute, nil)
	require.NoError(t, err)
	revoked, gone, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	require.NoError(t, err)
	_, err = ks.Revoke(ctx, gone.ID, "lost")
	require.NoError(t, err)
	_, err = ks.Lookup(ctx, first.Reveal())
	require.NoError(t, err)
	require.NoError(t, ks.Close())

	ks, err = keystore.Open(ctx, url, nil)
	require.NoError(t, err)
	defer ks.Close()
	for _, token := range []keystore.Token{first, second} {
		_, err := ks.Lookup(ctx, token.Reveal(), "orders:read")
		require.NoError(t, err)
	}
	_, err = ks.Lookup(ctx, revoked.Reveal())
	require.ErrorIs(t, err, keystore.ErrRevoked)
	key, err = ks.Get(ctx, key.ID)
	require.NoError(t, err)
	require.False(t, key.LastUsedAt.IsZero(), "Close wrote the last-used time")
}

func TestBadgerFilesHoldNoSecret(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	pepper := []byte("pepper-that-must-stay-out-of-the-store")
	hash, err := keystore.HMAC("k1", map[string][]byte{"k1": pepper})
	require.NoError(t, err)
	ks, err := keystore.Open(ctx, badgerURL(dir), &keystore.Options{
		Hash: keystore.SHA256(), AcceptHash: []keystore.Hasher{hash},
	})
	require.NoError(t, err)
	peppered, err := keystore.Open(ctx, "memory://", &keystore.Options{Hash: hash})
	require.NoError(t, err)
	defer peppered.Close()

	var secrets [][]byte
	var id string
	for range 20 {
		token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
		require.NoError(t, err)
		_, err = ks.Lookup(ctx, token.Reveal())
		require.NoError(t, err)
		rotated, _, err := ks.Rotate(ctx, key.ID, time.Hour, nil)
		require.NoError(t, err)
		for _, tok := range []keystore.Token{token, rotated} {
			text := tok.Reveal()
			secrets = append(secrets, []byte(text[len(text)-38:len(text)-6]), []byte(text[len(text)-22:]))
		}
		id = key.ID
	}
	secrets = append(secrets, pepper)
	inFiles := func(what []byte) (found bool) {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			found = found || bytes.Contains(content, what)
			return err
		}))
		return found
	}
	search := func(when string) {
		require.True(t, inFiles([]byte(id)), "%s: the id is there, so the search works", when)
		for _, secret := range secrets {
			require.False(t, inFiles(secret), "%s: a secret is in a file of the store", when)
		}
	}
	search("open")
	require.NoError(t, ks.Close())
	search("closed")
}

func TestBadgerFolderThatIsOpenAlready(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	ks, err := keystore.Open(ctx, badgerURL(dir), nil)
	require.NoError(t, err)
	_, err = keystore.Open(ctx, badgerURL(dir), nil)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	var locked *badger.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, os.Getpid(), locked.PID)
	require.False(t, strings.Contains(err.Error(), dir), "%v holds a part of the URL", err)
	require.NoError(t, ks.Close())
	ks, err = keystore.Open(ctx, badgerURL(dir), nil)
	require.NoError(t, err, "free again after Close")
	require.NoError(t, ks.Close())
}

func TestBadgerRefusalForWantOfSpaceIsACleanFailure(t *testing.T) {
	ctx := context.Background()
	opts, err := badger.DatabaseOptions(t.TempDir(), nil)
	require.NoError(t, err)
	db, err := badgerdb.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	open := func(reserve int64) *keystore.Keystore {
		b, err := badger.New(db, &badger.Options{Reserve: reserve})
		require.NoError(t, err)
		t.Cleanup(func() { b.Close() })
		ks, err := keystore.New(b, &keystore.Options{TouchInterval: keystore.Never})
		require.NoError(t, err)
		t.Cleanup(func() { ks.Close() })
		return ks
	}
	roomy := open(-1)
	token, key, err := roomy.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	require.NoError(t, err)

	full := open(math.MaxInt64) // no disk has that much free
	lost, _, err := full.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorIs(t, err, badger.ErrNoSpace)
	require.NotErrorIs(t, err, keystore.ErrUnknownOutcome, "the driver knows that nothing was written")
	require.True(t, lost.IsZero())
	_, err = full.Revoke(ctx, key.ID, "")
	require.ErrorIs(t, err, badger.ErrNoSpace)
	_, err = full.Lookup(ctx, token.Reveal())
	require.NoError(t, err, "reads go on, and the revocation did not happen")
}

// TestADamagedHeaderOnBadger: what lies around Data on disk can be damaged too.
func TestADamagedHeaderOnBadger(t *testing.T) {
	ctx := context.Background()
	opts, err := badger.DatabaseOptions("", &badger.Options{InMemory: true})
	require.NoError(t, err)
	db, err := badgerdb.Open(opts)
	require.NoError(t, err)
	defer db.Close()
	b, err := badger.New(db, nil)
	require.NoError(t, err)
	defer b.Close()
	ks, err := keystore.New(b, nil)
	require.NoError(t, err)
	defer ks.Close()
	var ids []string
	var tokens []string
	for range 3 {
		token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
		require.NoError(t, err)
		ids, tokens = append(ids, key.ID), append(tokens, token.Reveal())
	}
	const ownerLen, version = 25, 0 // offsets in the header
	for i, offset := range []int{ownerLen, version} {
		require.NoError(t, db.Update(func(txn *badgerdb.Txn) error {
			item, err := txn.Get([]byte("keystore/r" + ids[i]))
			if err != nil {
				return err
			}
			value, err := item.ValueCopy(nil)
			value[offset] ^= 0x40
			return errors.Join(err, txn.Set([]byte("keystore/r"+ids[i]), value))
		}))
		_, err := ks.Lookup(ctx, tokens[i])
		require.ErrorIs(t, err, keystore.ErrCorrupt)
	}
	keys, _, err := ks.List(ctx, keystore.ListParams{Owner: "alice"})
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	require.Len(t, keys, 1, "the listing goes on")
	n, err := ks.RevokeAll(ctx, "alice", "")
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	require.Equal(t, 1, n, "and so does RevokeAll")
	_, err = ks.Lookup(ctx, tokens[2])
	require.ErrorIs(t, err, keystore.ErrRevoked)
	for _, id := range ids {
		require.NoError(t, ks.Delete(ctx, id))
	}
}

// TestACallThatPanicsDoesNotHoldUpClose: net/http, for one, recovers.
func TestACallThatPanicsDoesNotHoldUpClose(t *testing.T) {
	ks, err := keystore.Open(context.Background(), "badger://?memory=1", nil)
	require.NoError(t, err)
	token, _, err := ks.Generate(context.Background(), keystore.KeyParams{Owner: "alice"})
	require.NoError(t, err)
	var none context.Context
	require.Panics(t, func() { ks.Lookup(none, token.Reveal()) })
	require.NoError(t, ks.Close())
}
