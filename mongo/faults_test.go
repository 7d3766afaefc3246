package mongo_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

var now = time.Date(2031, time.March, 4, 12, 30, 15, int(678*time.Millisecond), time.UTC)

// mutation is a call that writes by one command. It goes onto what prepare has made,
// and can be made again.
type mutation struct {
	name    string
	command string
	prepare func(ctx context.Context, b *mongo.Backend) error
	do      func(ctx context.Context, b *mongo.Backend) error
	applied func(ctx context.Context, b *mongo.Backend) bool // once
	asks    bool                                             // before it writes
}

var there = backend.Record{ID: "there", Owner: "alice", Data: []byte("old"), PurgeAt: now}

func createThere(ctx context.Context, b *mongo.Backend) error { return b.Create(ctx, there) }

func thereIsGone(ctx context.Context, b *mongo.Backend) bool {
	_, err := b.Get(ctx, "there")
	return errors.Is(err, backend.ErrNotFound)
}

var mutations = append([]mutation{
	{"Create", "update", func(context.Context, *mongo.Backend) error { return nil }, func(ctx context.Context, b *mongo.Backend) error {
		return b.Create(ctx, backend.Record{ID: "there", Owner: "alice", Data: []byte("new"), PurgeAt: now})
	}, func(ctx context.Context, b *mongo.Backend) bool {
		r, err := b.Get(ctx, "there")
		return err == nil && string(r.Data) == "new"
	}, false},
	{"Update", "update", createThere, func(ctx context.Context, b *mongo.Backend) error {
		return b.Update(ctx, backend.Record{ID: "there", Data: []byte("new"), PurgeAt: now, Revision: 1})
	}, func(ctx context.Context, b *mongo.Backend) bool {
		r, err := b.Get(ctx, "there")
		return err == nil && r.Revision == 2 && string(r.Data) == "new"
	}, false},
	{"Delete", "update", createThere, func(ctx context.Context, b *mongo.Backend) error { return b.Delete(ctx, "there") }, thereIsGone, false},
	{"Touch", "update", createThere, func(ctx context.Context, b *mongo.Backend) error {
		return b.Touch(ctx, map[string]time.Time{"there": now})
	}, func(ctx context.Context, b *mongo.Backend) bool {
		r, err := b.Get(ctx, "there")
		return err == nil && r.LastUsed.Equal(now)
	}, false},
	{"Purge", "update", createThere, func(ctx context.Context, b *mongo.Backend) error {
		_, err := b.Purge(ctx, now, 10)
		return err
	}, thereIsGone, true},
}, limitMutations...)

// Whatever happens to one command, the call says what it knows: an outcome in
// doubt is neither an answer nor "not applied". The same call again settles it,
// and nothing happens twice.
func TestFaultsOfOneCommand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault   mongowire.Fault
		applied bool
		certain bool // that it was not
	}{
		"reply lost, connection closed":  {mongowire.ApplyThenClose, true, false},
		"connection closed before":       {mongowire.CloseBefore, false, false},
		"stepped down in the middle":     {mongowire.Answer(mongowire.Error(189, "stepped down")), false, false},
		"interrupted, not applied":       {mongowire.Answer(mongowire.Error(11602, "interrupted")), false, false},
		"interrupted, applied":           {mongowire.ApplyThenAnswer(mongowire.Error(11602, "interrupted", mongowire.RetryableWrite)), true, false},
		"too late by the server's clock": {mongowire.ApplyThenAnswer(mongowire.Error(50, "operation exceeded time limit")), true, false},
		"shutting down":                  {mongowire.ApplyThenAnswer(mongowire.Error(91, "shutting down")), true, false},
		"an error nobody knows":          {mongowire.Answer(mongowire.Error(4711, "what")), false, false},
		"a write error nobody knows":     {mongowire.Answer(mongowire.WriteError(4711, "what")), false, false},
		"no majority":                    {mongowire.ApplyThenWriteConcernError(64, "waiting for replication timed out"), true, false},
		"no majority after stepping down": {
			mongowire.ApplyThenWriteConcernError(11602, "interrupted", mongowire.RetryableWrite), true, false},
		"no primary, as a concern": {mongowire.ApplyThenWriteConcernError(10107, "not primary"), true, false},
		"not allowed":              {mongowire.Answer(mongowire.Error(13, "not authorized")), false, true},
		"not valid":                {mongowire.Answer(mongowire.WriteError(121, "Document failed validation")), false, true},
	} {
		for _, m := range mutations {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				w := startWire(t, mongowire.Primary)
				b := w.open(t, nil)
				require.NoError(t, m.prepare(testContext(t), b))
				w.sent.Reset()
				w.faults.Nth(1, mongowire.Named(m.command), c.fault)
				err := m.do(testContext(t), b)
				require.Error(t, err)
				require.Zero(t, w.faults.Pending())
				require.Len(t, w.sent.Commands(m.command), 1, "nothing is repeated unseen")
				for _, answer := range []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed} {
					require.NotErrorIs(t, err, answer)
				}
				assert.Equal(t, c.certain, errors.Is(err, backend.ErrNotApplied), "%v", err)
				assert.Equal(t, c.applied, m.applied(testContext(t), b), "the fault is what it says")

				require.NoError(t, m.do(testContext(t), b), "the same again")
				assert.True(t, m.applied(testContext(t), b))
			})
		}
	}
}

// A server that is not the primary any more says so before it does anything: the
// command is sent again, to whoever is the primary then.
func TestNotPrimaryIsRepeated(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t, mongowire.Primary)
			b := w.open(t, nil)
			require.NoError(t, m.prepare(testContext(t), b))
			w.sent.Reset()
			for range 2 {
				w.faults.Nth(1, mongowire.Named(m.command), mongowire.Answer(mongowire.Error(10107, "not primary")))
			}
			require.NoError(t, m.do(testContext(t), b))
			assert.Zero(t, w.faults.Pending())
			assert.Len(t, w.sent.Commands(m.command), 3)
			assert.True(t, m.applied(testContext(t), b))
		})
	}
}

func TestNoPrimaryAtAll(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b := w.open(t, nil)
	require.NoError(t, b.Create(t.Context(), there))
	w.SetRole(mongowire.SteppedDown)
	for _, m := range mutations {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := m.do(ctx, b)
		require.Error(t, err, m.name)
		assert.ErrorIs(t, err, backend.ErrNotApplied, m.name)
		assert.NotErrorIs(t, err, backend.ErrNotFound, m.name)
		_, err = b.Get(ctx, "there")
		require.Error(t, err)
		assert.NotErrorIs(t, err, backend.ErrNotFound)
		cancel()
	}
	w.SetRole(mongowire.Primary)
	r, err := b.Get(testContext(t), "there")
	require.NoError(t, err)
	assert.EqualValues(t, 1, r.Revision)
}

// A server that takes a command and says nothing holds nobody beyond the deadline
// or the cancellation of the context.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	for _, m := range append(mutations, mutation{name: "Get", do: func(ctx context.Context, b *mongo.Backend) error {
		_, err := b.Get(ctx, "there")
		return err
	}}, mutation{name: "List", do: func(ctx context.Context, b *mongo.Backend) error {
		_, err := b.List(ctx, backend.ListOptions{Limit: 10})
		return err
	}}, mutation{name: "Watch", do: func(ctx context.Context, b *mongo.Backend) error {
		_, err := b.Watch(ctx)
		return err
	}}) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			b := w.open(t, nil)
			if m.prepare != nil {
				require.NoError(t, m.prepare(testContext(t), b))
			}
			released := make(chan struct{})
			commands := []string{"update", "find", "findAndModify", "delete"}
			w.faults.Each(mongowire.Named(commands...), mongowire.HangBefore(released))
			t.Cleanup(func() { close(released) })

			ctx, cancel := context.WithCancel(testContext(t))
			w.sent.Reset()
			failed := make(chan error)
			go func() { failed <- m.do(ctx, b) }()
			require.Eventually(t, func() bool { return len(w.sent.Commands(commands...)) > 0 }, waitLimit, waitTick)
			cancel()
			err := <-failed
			require.ErrorIs(t, err, context.Canceled)
			if m.applied != nil && !m.asks {
				assert.NotErrorIs(t, err, backend.ErrNotApplied)
			}

			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, m.do(ctx, b), context.DeadlineExceeded)
		})
	}
}
