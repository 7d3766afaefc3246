package mongo_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
)

// newKeystore does nothing by itself and keeps nothing of what it has read.
func newKeystore(t testing.TB, b backend.Backend) *keystore.Keystore {
	t.Helper()
	ks, err := keystore.New(b, &keystore.Options{CacheSize: -1, TouchInterval: keystore.Never, UsageInterval: keystore.Never, PurgeInterval: keystore.Never})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ks.Close()) })
	return ks
}

func generate(t testing.TB, ks *keystore.Keystore, owner string) (string, keystore.Key) {
	t.Helper()
	token, key, err := ks.Generate(testContext(t), keystore.KeyParams{Owner: owner})
	require.NoError(t, err)
	return token.Reveal(), key
}

// A reply that belongs to another key authenticates nobody, however much of it is
// made to look like the right one.
func TestRepliesOfOthers(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	ks := newKeystore(t, w.open(t, nil))
	ctx := testContext(t)
	token, key := generate(t, ks, "alice")
	_, other := generate(t, ks, "bob")
	docs := w.documents()
	var mine, theirs bson.D
	require.NoError(t, bson.Unmarshal(docs[0], &mine))
	require.NoError(t, bson.Unmarshal(docs[1], &theirs))
	if id(mine) != key.ID {
		mine, theirs = theirs, mine
	}
	require.Equal(t, other.ID, id(theirs))
	with := func(doc bson.D, changes ...any) bson.D {
		changed := d(changes...)
		for _, e := range doc {
			if _, done := value(changed, e.Key); !done {
				changed = append(changed, e)
			}
		}
		return changed
	}
	theirData, _ := value(theirs, "data")
	for name, answer := range map[string][]any{
		"another's document":              {theirs},
		"another's under the right id":    {with(theirs, "_id", key.ID)},
		"another's data":                  {with(mine, "data", theirData)},
		"another owner":                   {with(mine, "owner", "bob")},
		"no data":                         {with(mine, "data", []byte{})},
		"no document of ours":             {d("_id", key.ID)},
		"an id that is not a string":      {with(mine, "_id", int64(1))},
		"another's first, then the right": {theirs, mine},
	} {
		w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(mongowire.Found("test.keys", answer...)))
		got, err := ks.Lookup(ctx, token)
		require.Error(t, err, name)
		assert.Zero(t, got, name)
		assert.NotErrorIs(t, err, keystore.ErrUnauthenticated, "%s: nor is it told as a refusal", name)
		assert.True(t, errors.Is(err, keystore.ErrCorrupt) || errors.Is(err, keystore.ErrUnavailable), "%s: %v", name, err)
	}
	_, err := ks.Lookup(ctx, token)
	require.NoError(t, err)
}

func id(doc bson.D) string { v, _ := value(doc, "_id"); return v.(string) }

func value(doc bson.D, key string) (any, bool) {
	for _, e := range doc {
		if e.Key == key {
			return e.Value, true
		}
	}
	return nil, false
}

// A record of a later format is refused loudly, in lookups and in changes.
func TestLaterFormat(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	ks, ctx := newKeystore(t, b), testContext(t)
	token, key := generate(t, ks, "alice")
	r, err := b.Get(ctx, key.ID)
	require.NoError(t, err)
	r.Data[0] = 99 // the version
	binary.BigEndian.PutUint32(r.Data[len(r.Data)-4:], crc32.Checksum(r.Data[:len(r.Data)-4], crc32.MakeTable(crc32.Castagnoli)))
	require.NoError(t, b.Update(ctx, r))
	_, err = ks.Lookup(ctx, token)
	require.ErrorIs(t, err, keystore.ErrUnknownVersion)
	_, err = ks.Revoke(ctx, key.ID, "")
	require.ErrorIs(t, err, keystore.ErrUnknownVersion)

	// A later form of the document itself.
	_, err = connect(t, w.URL()).Database("test").Collection("keys").UpdateOne(ctx, d("_id", key.ID), d("$set", d("rev", "2:2")))
	require.NoError(t, err)
	_, err = ks.Lookup(ctx, token)
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	require.NotErrorIs(t, err, keystore.ErrUnauthenticated)
	require.NoError(t, ks.Delete(ctx, key.ID))
}

// An outage is never a refusal, from the beginning and in the middle.
func TestOutages(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	p := testserver.StartProxy(t, w.Addr())
	url := "mongodb://" + p.Addr() + "/test"
	p.Refuse(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := keystore.Open(ctx, url, nil)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	p.Refuse(false)

	ks, err := keystore.Open(testContext(t), url, &keystore.Options{
		CacheSize: -1, OpTimeout: 300 * time.Millisecond, TouchInterval: keystore.Never, UsageInterval: keystore.Never, PurgeInterval: keystore.Never,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ks.Close()) })
	token, key := generate(t, newKeystore(t, w.open(t, nil)), "alice") // which has the time that it takes
	for name, outage := range map[string]func(bool){"refused": p.Refuse, "silent": p.BlackHole} {
		outage(true)
		_, err = ks.Lookup(testContext(t), token)
		require.ErrorIs(t, err, keystore.ErrUnavailable, name)
		require.NotErrorIs(t, err, keystore.ErrUnauthenticated, name)
		_, err = ks.Get(testContext(t), key.ID)
		require.ErrorIs(t, err, keystore.ErrUnavailable, name)
		require.NotErrorIs(t, err, keystore.ErrNotFound, name)
		_, err = ks.Revoke(testContext(t), key.ID, "")
		require.ErrorIs(t, err, keystore.ErrUnavailable, name)
		outage(false)
		require.Eventually(t, func() bool {
			_, err := ks.Lookup(testContext(t), token)
			return err == nil
		}, waitLimit, waitTick, name)
	}
}

// Sixteen callers revise one key through as many handles: each change is made
// once, and none is in doubt.
func TestManyWritersOfOneKey(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	ctx := testContext(t)
	_, key := generate(t, newKeystore(t, w.open(t, nil)), "alice")
	const callers, each = 16, 25
	var mu sync.Mutex
	done, conflicts := 0, 0
	var all sync.WaitGroup
	for i := range callers {
		ks := newKeystore(t, w.open(t, nil))
		all.Go(func() {
			for n := range each {
				_, err := ks.Update(ctx, key.ID, func(c *keystore.Changes) error {
					c.Description = fmt.Sprint(i, n)
					return nil
				})
				mu.Lock()
				switch {
				case err == nil:
					done++
				case errors.Is(err, keystore.ErrConflict):
					conflicts++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	got, err := newKeystore(t, w.open(t, nil)).Get(ctx, key.ID)
	require.NoError(t, err)
	assert.EqualValues(t, 1+done, got.Revision())
	assert.Equal(t, callers*each, done+conflicts)
}

// The record in the database holds no secret.
func TestNoSecretIsStored(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	token, key := generate(t, newKeystore(t, w.open(t, nil)), "alice")
	_, secret, found := strings.Cut(token, key.ID)
	require.True(t, found)
	for _, cmd := range w.sent.Commands() {
		assert.NotContains(t, string(cmd.Body), secret)
	}
	assert.NotContains(t, string(w.document(t)), secret)
}
