package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs FerretDB with a proxy before it, and returns the addresses of both.
func start(t *testing.T) (direct, proxied string) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	server, err := startFerretDB(ctx)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { (&proxy{target: server.addr}).serve(ctx, listener) })
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		assert.NoError(t, server.wait())
	})
	return server.addr, listener.Addr().String()
}

// connect returns an empty collection.
func connect(t *testing.T, addr string) *mongo.Collection {
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + addr + "/"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Disconnect(context.Background())) })
	c := client.Database("test").Collection("c")
	require.NoError(t, c.Drop(t.Context()))
	return c
}

// race lets 16 callers, each with a connection of its own, raise the revision of
// one document by compare-and-swap, 60 tries each. It returns how many were told
// that they did, and the revision at the end.
func race(t *testing.T, c *mongo.Collection) (wins, final int64) {
	ctx := t.Context()
	_, err := c.InsertOne(ctx, bson.D{{Key: "_id", Value: "k"}, {Key: "rev", Value: int64(0)}})
	require.NoError(t, err)
	revision := func() int64 {
		var doc struct{ Rev int64 }
		assert.NoError(t, c.FindOne(ctx, bson.D{{Key: "_id", Value: "k"}}).Decode(&doc))
		return doc.Rev
	}
	var won atomic.Int64
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 60 {
				rev := revision()
				result, err := c.UpdateOne(ctx,
					bson.D{{Key: "_id", Value: "k"}, {Key: "rev", Value: rev}},
					bson.D{{Key: "$set", Value: bson.D{{Key: "rev", Value: rev + 1}}}})
				if assert.NoError(t, err) {
					won.Add(result.ModifiedCount)
				}
			}
		})
	}
	callers.Wait()
	return won.Load(), revision()
}

func TestProxyMakesCompareAndSwapAtomic(t *testing.T) {
	direct, proxied := start(t)
	t.Run("through the proxy every win is a step", func(t *testing.T) {
		wins, final := race(t, connect(t, proxied))
		t.Logf("%d wins, revision %d", wins, final)
		assert.Equal(t, final, wins)
		assert.Positive(t, wins)
	})
	t.Run("without it updates are lost", func(t *testing.T) {
		// When this fails, FerretDB has learned it, and the proxy can go.
		for range 10 {
			if wins, final := race(t, connect(t, direct)); wins > final {
				t.Logf("%d wins, revision %d", wins, final)
				return
			}
		}
		t.Error("no update was lost in 10 races")
	})
}

func TestProxyPassesWhatOneConnectionNeeds(t *testing.T) {
	_, proxied := start(t)
	c := connect(t, proxied)
	ctx := t.Context()

	docs := make([]any, 250)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: i}, {Key: "text", Value: make([]byte, 10_000)}}
	}
	_, err := c.InsertMany(ctx, docs)
	require.NoError(t, err)
	cursor, err := c.Find(ctx, bson.D{}, options.Find().SetBatchSize(100))
	require.NoError(t, err)
	var found []bson.Raw
	require.NoError(t, cursor.All(ctx, &found), "several batches")
	assert.Len(t, found, len(docs))

	_, err = c.InsertOne(ctx, docs[0])
	assert.True(t, mongo.IsDuplicateKeyError(err), "%v", err)
}

// A write that wants no reply gets none, holds up nobody, and the connection
// stays in step.
func TestProxyKeepsStepAfterOneWayMessages(t *testing.T) {
	_, proxied := start(t)
	c := connect(t, proxied)
	unacknowledged := c.Database().Collection("c", options.Collection().SetWriteConcern(writeconcern.Unacknowledged()))
	for i := range 10 {
		result, err := unacknowledged.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}})
		require.NoError(t, err)
		require.False(t, result.Acknowledged)
	}
	assert.Eventually(t, func() bool {
		n, err := c.CountDocuments(t.Context(), bson.D{})
		return err == nil && n == 10
	}, 10*time.Second, 10*time.Millisecond)
}

// While a command that writes is under way, others that write wait for it and
// those that read do not.
func TestProxyHoldsOnlyWrites(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	serving.Go(func() { (&proxy{target: server.Addr().String()}).serve(ctx, front) })

	// Each client has a connection to the server of its own; the test is the server.
	dial := func(command string) (client, atServer net.Conn) {
		client, err := net.Dial("tcp", front.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { client.Close() })
		atServer, err = server.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { atServer.Close() })
		_, err = client.Write(newMessage(t, 0, command))
		require.NoError(t, err)
		return client, atServer
	}
	first, firstAtServer := dial("update")
	got, err := readMessage(firstAtServer)
	require.NoError(t, err)
	require.Equal(t, "update", got.command())

	reading, readingAtServer := dial("find")
	got, err = readMessage(readingAtServer)
	require.NoError(t, err)
	require.Equal(t, "find", got.command())
	_, err = readingAtServer.Write(newMessage(t, 0, "answer"))
	require.NoError(t, err)
	_, err = readMessage(reading)
	require.NoError(t, err, "a read passes a write that is under way")

	second, secondAtServer := dial("insert")
	require.NoError(t, secondAtServer.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = readMessage(secondAtServer)
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "a second write must wait, got %v", err)

	// The first client does not wait for its answer: the second still does.
	require.NoError(t, first.Close())
	_, err = readMessage(secondAtServer)
	require.Error(t, err)
	_, err = firstAtServer.Write(newMessage(t, 0, "answer"))
	require.NoError(t, err)
	require.NoError(t, secondAtServer.SetReadDeadline(time.Now().Add(time.Minute)))
	got, err = readMessage(secondAtServer)
	require.NoError(t, err)
	require.Equal(t, "insert", got.command())
	require.NoError(t, second.Close())
}

func newMessage(t *testing.T, flags byte, command string) message {
	t.Helper()
	body, err := bson.Marshal(bson.D{{Key: command, Value: 1}})
	require.NoError(t, err)
	m := make(message, headerLen, headerLen+5+len(body))
	m[0] = byte(headerLen + 5 + len(body))
	m[12], m[13] = opMsg&0xff, opMsg>>8
	m = append(m, flags, 0, 0, 0, 0)
	return append(m, body...)
}
