package mongo_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

// graveyard is a store with n tombstones that were made at serverTime.
func graveyard(t *testing.T, n int) (*wire, *mongo.Backend) {
	t.Helper()
	w := startWire(t)
	w.store.SetClock(func(string) time.Time { return serverTime })
	w.SetClock(func() time.Time { return serverTime })
	b := w.open(t, nil)
	var many []any
	for i := range n {
		many = append(many, d("_id", fmt.Sprintf("gone-%04d", i), "rev", int64(0), "purge_at", serverTime, "changed", serverTime, "write_id", int64(2)))
	}
	_, err := connect(t, w.URL()).Database("test").Collection("keys").InsertMany(t.Context(), many)
	require.NoError(t, err)
	return w, b
}

func at(clock time.Time) func() time.Time { return func() time.Time { return clock } }

// How old a tombstone is, is for the server's clock to say.
func TestPurgeRemovesOldTombstones(t *testing.T) {
	t.Parallel()
	w, b := graveyard(t, 3)
	for _, clock := range []time.Time{serverTime, serverTime.Add(10*time.Minute - time.Millisecond)} {
		w.SetClock(at(clock))
		for _, purgeTime := range []time.Time{now, serverTime.AddDate(1000, 0, 0), time.UnixMilli(0)} {
			n, err := b.Purge(t.Context(), purgeTime, 10)
			require.NoError(t, err)
			require.Zero(t, n, "a tombstone is no record")
			require.Len(t, w.documents(), 3)
		}
	}
	w.SetClock(at(serverTime.Add(10 * time.Minute)))
	n, err := b.Purge(t.Context(), time.UnixMilli(0), 10)
	require.NoError(t, err)
	assert.Zero(t, n)
	assert.Empty(t, w.documents())
}

func TestOneSweepIsBounded(t *testing.T) {
	t.Parallel()
	w, b := graveyard(t, 2000)
	w.SetClock(at(serverTime.Add(time.Hour)))
	require.NoError(t, b.Create(t.Context(), backend.Record{ID: "there", Owner: "alice", Data: []byte("d"), PurgeAt: now}))
	for _, left := range []int{976, 0} {
		_, err := b.Purge(t.Context(), time.UnixMilli(0), 1)
		require.NoError(t, err)
		require.Len(t, w.documents(), left+1)
	}
	for _, cmd := range w.sent.Commands("delete") {
		assert.LessOrEqual(t, len(cmd.Filters()), 64)
	}
}

// Programs that delete and never purge do not pile up tombstones.
func TestDeleteRemovesOldTombstones(t *testing.T) {
	t.Parallel()
	w, b := graveyard(t, 100)
	w.SetClock(at(serverTime.Add(time.Hour)))
	for n := 0; len(w.documents()) > 0; n++ {
		require.Less(t, n, 64*40, "one in 64 should have done it")
		require.NoError(t, b.Delete(t.Context(), "whatever"))
	}
}

// A tombstone whose place a new record has taken meanwhile is none any more.
func TestSweepSparesNewRecords(t *testing.T) {
	t.Parallel()
	w, b := graveyard(t, 2)
	w.SetClock(at(serverTime.Add(time.Hour)))
	other := w.open(t, nil)
	fresh := backend.Record{ID: "gone-0001", Owner: "alice", Data: []byte("d"), PurgeAt: serverTime}
	w.faults.Nth(1, mongowire.Named("delete"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		if err := other.Create(context.Background(), fresh); err != nil {
			t.Error(err)
		}
		return apply()
	})
	_, err := b.Purge(t.Context(), time.UnixMilli(0), 10)
	require.NoError(t, err)
	require.Zero(t, w.faults.Pending())
	r, err := b.Get(t.Context(), fresh.ID)
	require.NoError(t, err)
	assert.Equal(t, fresh.Data, r.Data)
	assert.Len(t, w.documents(), 1)
}

// Removing tombstones is no part of what the caller asked for.
func TestSweepFailsInSilence(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"hello", "find", "delete"} {
		w, b := graveyard(t, 2)
		w.SetClock(at(serverTime.Add(time.Hour)))
		require.NoError(t, b.Create(t.Context(), backend.Record{ID: "there", Owner: "alice", Data: []byte("d"), PurgeAt: now}))
		match := func(cmd mongowire.Command) bool {
			return cmd.Name == command && (command != "find" || cmd.Filters()[0].Lookup("rev").Type == 0x12) // an int64: of tombstones
		}
		w.faults.Nth(1, match, mongowire.Answer(mongowire.Error(4711, "no")))
		n, err := b.Purge(t.Context(), now, 10)
		require.NoError(t, err, command)
		require.Equal(t, 1, n)
		require.Zero(t, w.faults.Pending(), command)
		assert.Len(t, w.documents(), 3)
	}
}

// What Purge did before it failed counts, and is not told as nothing.
func TestPurgeFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	for i := range 100 {
		require.NoError(t, b.Create(t.Context(), backend.Record{ID: fmt.Sprint("key-", i), Owner: "alice", Data: []byte("d"), PurgeAt: now}))
	}
	w.faults.Nth(2, mongowire.Named("update"), mongowire.Answer(mongowire.Error(13, "not authorized")))
	n, err := b.Purge(t.Context(), now, 1000)
	require.Error(t, err)
	assert.Equal(t, 64, n)
	assert.NotErrorIs(t, err, backend.ErrNotApplied)

	used := make(map[string]time.Time)
	for i := range 100 {
		used[fmt.Sprint("key-", i)] = now
	}
	w.faults.Nth(2, mongowire.Named("update"), mongowire.Answer(mongowire.Error(13, "not authorized")))
	err = b.Touch(t.Context(), used)
	require.Error(t, err)
	assert.NotErrorIs(t, err, backend.ErrNotApplied)
	w.faults.Nth(1, mongowire.Named("update"), mongowire.Answer(mongowire.Error(13, "not authorized")))
	assert.ErrorIs(t, b.Touch(t.Context(), used), backend.ErrNotApplied)
	// Of several statements in one command, one was refused and others were not.
	w.faults.Nth(1, mongowire.Named("update"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		apply()
		return mongowire.OK(d("n", int32(35), "writeErrors", []any{d("index", int32(3), "code", int32(10107), "errmsg", "not primary")})...)
	})
	w.sent.Reset()
	n, err = b.Purge(t.Context(), now, 1000)
	require.Error(t, err)
	assert.Equal(t, 35, n)
	assert.NotErrorIs(t, err, backend.ErrNotApplied)
	assert.Len(t, w.sent.Commands("update"), 1)
}

// Between the question what is due and its removal, another key may have taken the
// place of one, at the same revision.
func TestPurgeSparesNewRecords(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, other := w.open(t, nil), w.open(t, nil)
	require.NoError(t, b.Create(t.Context(), backend.Record{ID: "a", Owner: "alice", Data: []byte("old"), PurgeAt: now}))
	w.faults.Nth(1, mongowire.Named("update"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		fresh := backend.Record{ID: "a", Owner: "alice", Data: []byte("new"), PurgeAt: now.Add(time.Hour)}
		for _, err := range []error{other.Delete(context.Background(), "a"), other.Create(context.Background(), fresh)} {
			if err != nil {
				t.Error(err)
			}
		}
		return apply()
	})
	n, err := b.Purge(testContext(t), now, 10)
	require.NoError(t, err)
	assert.Zero(t, n)
	r, err := b.Get(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, "new", string(r.Data))
}
