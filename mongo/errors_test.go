package mongo_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

// What was never sent had no effect. The client library has no error of its own
// for that, so each of its ways to fail before is tried: another version of it
// that fails in other words shows here.
func TestNeverSent(t *testing.T) {
	t.Parallel()
	record := backend.Record{ID: "a", Owner: "alice", Data: []byte("d")}
	create := func(t *testing.T, b *mongo.Backend, within time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		err := b.Create(ctx, record)
		require.Error(t, err)
		assert.ErrorIs(t, err, backend.ErrNotApplied, "%v", err)
		assert.NotErrorIs(t, err, backend.ErrClosed)
	}
	for name, test := range map[string]func(t *testing.T, w *wire){
		"no server": func(t *testing.T, w *wire) {
			p := testserver.StartProxy(t, w.Addr())
			p.Refuse(true)
			create(t, newBackend(t, connect(t, "mongodb://"+p.Addr()+"/").Database("test").Collection("keys"), nil), 100*time.Millisecond)
		},
		"no server any more": func(t *testing.T, w *wire) {
			p := testserver.StartProxy(t, w.Addr())
			b := newBackend(t, connect(t, "mongodb://"+p.Addr()+"/").Database("test").Collection("keys"), nil)
			_, err := b.Get(t.Context(), "a")
			require.ErrorIs(t, err, backend.ErrNotFound)
			p.Refuse(true)
			require.Error(t, b.Delete(testContext(t), "a")) // the library learns of it
			create(t, b, 100*time.Millisecond)
		},
		"no connection is free": func(t *testing.T, w *wire) {
			client := connect(t, w.URL(), options.Client().SetMaxPoolSize(1))
			b := newBackend(t, client.Database("test").Collection("keys"), nil)
			released := make(chan struct{})
			t.Cleanup(func() { close(released) })
			w.faults.Nth(1, mongowire.Named("find"), mongowire.HangBefore(released))
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			go b.Get(ctx, "a") //nolint:errcheck // takes the only connection
			require.Eventually(t, func() bool { return w.faults.Pending() == 0 }, waitLimit, waitTick)
			create(t, b, 100*time.Millisecond)
		},
		"no new connection": func(t *testing.T, w *wire) {
			var down atomic.Bool
			client := connect(t, w.URL(), options.Client().SetDialer(dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
				if down.Load() {
					return nil, errors.New("the cable is out")
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			})))
			coll := client.Database("test").Collection("keys")
			require.NoError(t, client.Ping(t.Context(), nil))
			released := make(chan struct{})
			t.Cleanup(func() { close(released) })
			w.faults.Nth(1, mongowire.Named("find"), mongowire.HangBefore(released)) // takes the connection that is open
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			b := newBackend(t, coll, nil)
			go b.Get(ctx, "a") //nolint:errcheck // see above
			require.Eventually(t, func() bool { return w.faults.Pending() == 0 }, waitLimit, waitTick)
			down.Store(true)
			create(t, b, waitLimit)
		},
		"a server that takes no user": func(t *testing.T, w *wire) {
			w.faults.Each(mongowire.Named("saslStart"), mongowire.Answer(mongowire.Error(18, "Authentication failed.")))
			client := connect(t, w.URL(), options.Client().SetAuth(options.Credential{
				Username: "u", Password: "s3cret", AuthSource: "admin", AuthMechanism: "SCRAM-SHA-256",
			}))
			create(t, newBackend(t, client.Database("test").Collection("keys"), nil), waitLimit)
		},
		"a client that was disconnected": func(t *testing.T, w *wire) {
			client, err := mongodb.Connect(options.Client().ApplyURI(w.URL()))
			require.NoError(t, err)
			b := newBackend(t, client.Database("test").Collection("keys"), nil)
			require.NoError(t, client.Disconnect(t.Context()))
			create(t, b, waitLimit)
		},
		"less time than a round trip": func(t *testing.T, w *wire) {
			b := w.open(t, nil)
			_, err := b.Get(t.Context(), "a")
			require.ErrorIs(t, err, backend.ErrNotFound)
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			defer cancel()
			assert.ErrorIs(t, b.Create(ctx, record), backend.ErrNotApplied)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			test(t, w)
			assert.Empty(t, w.documents())
		})
	}
}

// A connection of the program's own may break with any error. One that looks like
// the client library's own of before a command was sent says nothing.
func TestErrorsOfForeignConnections(t *testing.T) {
	t.Parallel()
	for _, foreign := range []error{
		retryableError{errors.New("the tunnel is down")}, topology.ServerSelectionError{}, topology.ErrPoolClosed, topology.ErrServerClosed,
	} {
		w := startWire(t)
		var breaks atomic.Bool
		client := connect(t, w.URL(), options.Client().SetDialer(dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return &breakingConn{conn, &breaks, foreign}, err
		})))
		b := newBackend(t, client.Database("test").Collection("keys"), nil)
		_, err := b.Get(t.Context(), "a")
		require.ErrorIs(t, err, backend.ErrNotFound)
		w.faults.Nth(1, mongowire.Named("update"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
			breaks.Store(true)
			return apply()
		})
		err = b.Create(testContext(t), backend.Record{ID: "a", Owner: "alice"})
		require.ErrorContains(t, err, foreign.Error())
		assert.NotErrorIs(t, err, backend.ErrNotApplied, "%T", foreign)
		assert.Len(t, w.documents(), 1)
	}
}

type retryableError struct{ error }

func (retryableError) Retryable() bool { return true }

// breakingConn reads an error in place of a reply, once it is told to.
type breakingConn struct {
	net.Conn
	breaks *atomic.Bool
	err    error
}

func (c *breakingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.breaks.Load() {
		return 0, c.err
	}
	return n, err
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// A majority may get a write a moment later than the primary: then what the
// update found and what a read shows do not agree for that moment.
func TestReadsThatLag(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b, ctx := w.open(t, nil), testContext(t)
	r := backend.Record{ID: "a", Owner: "alice", Data: []byte("1")}
	require.NoError(t, b.Create(ctx, r))
	first := w.document(t)
	r.Revision = 1
	r.Data = []byte("2")
	require.NoError(t, b.Update(ctx, r))

	lag := func(answers int, docs ...any) {
		docs = append([]any{}, docs...)
		for range answers {
			w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(mongowire.Found("test.keys", docs...)))
		}
	}
	lag(3, first)
	r.Data = []byte("other")
	require.ErrorIs(t, b.Update(ctx, r), backend.ErrConflict)
	assert.Zero(t, w.faults.Pending())
	lag(3, first)
	r.Data = []byte("2")
	require.NoError(t, b.Update(ctx, r), "a repeat")
	assert.Zero(t, w.faults.Pending())
	lag(3)
	require.ErrorIs(t, b.Create(ctx, r), backend.ErrExists)
	assert.Zero(t, w.faults.Pending())

	// A read that never catches up ends with the context, or after some tries.
	w.faults.Each(mongowire.Named("find"), mongowire.Answer(mongowire.Found("test.keys", []any{}...)))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := b.Create(short, r)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.NotErrorIs(t, err, backend.ErrExists)
}

// A read that fails while a call is being settled is a failure and no answer.
func TestSettlingFails(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, ctx := w.open(t, nil), testContext(t)
	r := backend.Record{ID: "a", Owner: "alice", Data: []byte("1")}
	require.NoError(t, b.Create(ctx, r))
	for _, call := range []func() error{
		func() error { return b.Create(ctx, backend.Record{ID: "a", Owner: "bob"}) },
		func() error { return b.Update(ctx, backend.Record{ID: "a", Revision: 7}) },
		func() error { return b.Update(ctx, backend.Record{ID: "missing", Revision: 7}) },
	} {
		w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(mongowire.Error(13, "not authorized")))
		err := call()
		require.ErrorIs(t, err, backend.ErrNotApplied)
		for _, answer := range []error{backend.ErrExists, backend.ErrConflict, backend.ErrNotFound} {
			assert.NotErrorIs(t, err, answer)
		}
	}
}

// An answer of Update is about the only attempt that there was.
func TestUpdateIsCertain(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b, ctx := w.open(t, nil), testContext(t)
	require.NoError(t, b.Create(ctx, backend.Record{ID: "a", Owner: "alice", Data: []byte("1")}))
	err := b.Update(ctx, backend.Record{ID: "a", Data: []byte("2"), Revision: 7})
	require.ErrorIs(t, err, backend.ErrConflict)
	require.ErrorIs(t, err, backend.ErrNotApplied)
	err = b.Update(ctx, backend.Record{ID: "b", Data: []byte("2"), Revision: 7})
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.ErrorIs(t, err, backend.ErrNotApplied)
}

// A key that is taken, but perhaps not by what a majority has, is no answer yet.
func TestTakenWithoutAMajority(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b, ctx := w.open(t, nil), testContext(t)
	require.NoError(t, b.Create(ctx, backend.Record{ID: "a", Owner: "alice", Data: []byte("1")}))
	w.faults.Nth(1, mongowire.Named("update"), mongowire.ApplyThenWriteConcernError(64, "waiting for replication timed out"))
	err := b.Create(ctx, backend.Record{ID: "a", Owner: "alice", Data: []byte("2")})
	require.Error(t, err)
	assert.NotErrorIs(t, err, backend.ErrExists)
	assert.NotErrorIs(t, err, backend.ErrNotApplied)
}

// The client library repeats a command after an error with these labels, be it one
// of a write that was applied. Stores opened by URL keep it from that, since a
// conflict with the first attempt would be told as one with another writer.
func TestOverloadIsNotRepeated(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b, err := backend.Open(t.Context(), w.URL()+"test?retryWrites=true&maxAdaptiveRetries=5", nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	ctx := testContext(t)
	require.NoError(t, b.Create(ctx, backend.Record{ID: "a", Owner: "alice", Data: []byte("1")}))
	var sent atomic.Int32
	w.faults.Each(mongowire.Named("update"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		sent.Add(1)
		return apply().WithWriteConcernError(91, "overloaded", "SystemOverloadedError", "RetryableError")
	})
	err = b.Update(ctx, backend.Record{ID: "a", Data: []byte("2"), Revision: 1})
	require.Error(t, err)
	assert.EqualValues(t, 1, sent.Load())
	for _, answer := range []error{backend.ErrConflict, backend.ErrNotFound, backend.ErrNotApplied} {
		assert.NotErrorIs(t, err, answer)
	}
}
