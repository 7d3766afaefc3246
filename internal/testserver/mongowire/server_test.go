package mongowire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"example.com/keystore/internal/testserver/mongowire"
)

func TestTheHandlerAnswers(t *testing.T) {
	server := mongowire.Start(t, func(cmd mongowire.Command) mongowire.Reply {
		if cmd.Name != "find" {
			return mongowire.Reply{}
		}
		assert.Equal(t, "test.keys", cmd.Namespace())
		return mongowire.Found(cmd.Namespace(), d("_id", "another"))
	})
	c, ctx := connect(t, server), testContext(t)
	require.NoError(t, c.Database().Client().Ping(ctx, nil), "the usual answer")
	var doc struct {
		ID string `bson:"_id"`
	}
	require.NoError(t, c.FindOne(ctx, d("_id", "a")).Decode(&doc))
	assert.Equal(t, "another", doc.ID)
}

// The driver's own hellos are answered by the server, those of the program by the
// handler if it wants to.
func TestHello(t *testing.T) {
	sent := mongowire.Record(mongowire.Memory().Handle)
	faults := mongowire.NewFaults(sent.Handle)
	server := mongowire.Start(t, faults.Handle, mongowire.Primary)
	now := time.UnixMilli(1_700_000_000_123).UTC()
	server.SetClock(func() time.Time { return now })
	c, ctx := connect(t, server), testContext(t)
	var hello struct {
		LocalTime time.Time `bson:"localTime"`
	}
	require.NoError(t, c.Database().RunCommand(ctx, d("hello", 1)).Decode(&hello))
	assert.Equal(t, now, hello.LocalTime)
	assert.Len(t, sent.Commands(), 1)

	faults.Nth(1, mongowire.Named("hello"), mongowire.Answer(mongowire.Error(91, "shutting down")))
	require.Error(t, c.Database().RunCommand(ctx, d("hello", 1)).Err())
	require.ErrorIs(t, c.FindOne(ctx, d("_id", "a")).Err(), mongo.ErrNoDocuments, "the driver still knows a primary")
}

func TestRecordedCommands(t *testing.T) {
	sent := mongowire.Record(mongowire.Memory().Handle)
	c, ctx := connect(t, mongowire.Start(t, sent.Handle, mongowire.Primary)), testContext(t)
	journaled := true
	c = c.Database().Collection("keys", options.Collection().
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journaled}).
		SetReadConcern(readconcern.Linearizable()))

	_, err := c.InsertOne(ctx, d("_id", "a", "rev", int64(1)))
	require.NoError(t, err)
	_, err = c.UpdateOne(ctx, d("_id", "a", "rev", int64(1)), d("$set", d("rev", int64(2))))
	require.NoError(t, err)
	require.NoError(t, c.FindOne(ctx, d("_id", "a")).Err())
	_, err = c.DeleteOne(ctx, d("_id", "a", "rev", int64(2)))
	require.NoError(t, err)

	writes := sent.Commands("insert", "update", "delete")
	require.Len(t, writes, 3)
	sessions := make(map[string]bool)
	for i, cmd := range writes {
		assert.Equal(t, "majority", cmd.WriteConcern())
		assert.True(t, cmd.Journaled())
		number, has := cmd.TxnNumber()
		assert.True(t, has)
		assert.EqualValues(t, i+1, number)
		sessions[cmd.Session()] = true
	}
	assert.Len(t, sessions, 1)
	assert.Empty(t, writes[0].Filters())
	require.Len(t, writes[1].Filters(), 1)
	assert.JSONEq(t, `{"_id": "a", "rev": 1}`, extJSON(t, writes[1].Filters()[0]))
	assert.JSONEq(t, `{"$set": {"rev": 2}}`, extJSON(t, writes[1].Changes()[0]))
	assert.JSONEq(t, `{"_id": "a", "rev": 2}`, extJSON(t, writes[2].Filters()[0]))

	finds := sent.Commands("find")
	require.Len(t, finds, 1)
	assert.Equal(t, "linearizable", finds[0].ReadConcern())
	assert.JSONEq(t, `{"_id": "a"}`, extJSON(t, finds[0].Filters()[0]))

	sent.Reset()
	assert.Empty(t, sent.Commands())
}

// The driver repeats a write whose reply was lost, where the server may know it
// again: it is applied once, and the repeat is told so.
func TestARepeatedWriteIsAppliedOnce(t *testing.T) {
	t.Parallel()
	writes := map[string]func(context.Context, *mongo.Collection) error{
		"insert": func(ctx context.Context, c *mongo.Collection) error {
			_, err := c.InsertOne(ctx, d("_id", "new", "n", 1))
			return err
		},
		"update": func(ctx context.Context, c *mongo.Collection) error {
			result, err := c.UpdateOne(ctx, d("_id", "a", "n", 1), d("$inc", d("n", 1)))
			if err == nil && result.ModifiedCount != 1 {
				return errors.New("nothing was modified")
			}
			return err
		},
		"delete": func(ctx context.Context, c *mongo.Collection) error {
			result, err := c.DeleteOne(ctx, d("_id", "a"))
			if err == nil && result.DeletedCount != 1 {
				return errors.New("nothing was deleted")
			}
			return err
		},
		"findAndModify": func(ctx context.Context, c *mongo.Collection) error {
			return c.FindOneAndUpdate(ctx, d("_id", "a", "n", 1), d("$inc", d("n", 1))).Err()
		},
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the driver waits half a second before it asks a server again
			role := mongowire.Primary
			if name == "insert" {
				role = mongowire.Mongos
			}
			c, sent, faults, _ := setUp(t, role)
			faults.Nth(1, mongowire.Named(name), mongowire.ApplyThenClose)
			require.NoError(t, write(testContext(t), c))
			require.Zero(t, faults.Pending())
			commands := sent.Commands(name)
			require.Len(t, commands, 2)
			first, _ := commands[0].TxnNumber()
			second, _ := commands[1].TxnNumber()
			assert.Equal(t, first, second)
			assert.Equal(t, commands[0].Session(), commands[1].Session())
			require.Error(t, write(testContext(t), c), "it is done")
		})
		t.Run(name+" on a standalone server", func(t *testing.T) {
			t.Parallel()
			c, sent, faults, _ := setUp(t, mongowire.Standalone)
			faults.Nth(1, mongowire.Named(name), mongowire.ApplyThenClose)
			require.True(t, mongo.IsNetworkError(write(testContext(t), c)))
			assert.Len(t, sent.Commands(name), 1)
		})
	}
}

// setUp returns a collection with one document and what stands before it. What is
// sent is recorded before faults strike.
func setUp(t *testing.T, role mongowire.Role) (*mongo.Collection, *mongowire.Recorder, *mongowire.Faults, *mongowire.Server) {
	t.Helper()
	faults := mongowire.NewFaults(mongowire.Memory().Handle)
	sent := mongowire.Record(faults.Handle)
	server := mongowire.Start(t, sent.Handle, role)
	c := connect(t, server)
	_, err := c.InsertOne(testContext(t), d("_id", "a", "n", 1))
	require.NoError(t, err)
	sent.Reset()
	return c, sent, faults, server
}

func number(t *testing.T, c *mongo.Collection) int {
	t.Helper()
	var doc struct{ N int }
	require.NoError(t, c.FindOne(testContext(t), d("_id", "a")).Decode(&doc))
	return doc.N
}

func increment(ctx context.Context, c *mongo.Collection) error {
	_, err := c.UpdateOne(ctx, d("_id", "a"), d("$inc", d("n", 1)))
	return err
}

func TestFaults(t *testing.T) {
	t.Parallel()
	update := mongowire.Named("update")
	code := func(code int) func(error) bool {
		return func(err error) bool {
			var failed mongo.ServerError
			return errors.As(err, &failed) && failed.HasErrorCode(code)
		}
	}
	for name, test := range map[string]struct {
		fault mongowire.Fault
		is    func(error) bool
		n     int
	}{
		"error, not applied":  {mongowire.Answer(mongowire.Error(50, "operation exceeded time limit")), mongo.IsTimeout, 1},
		"error, applied":      {mongowire.ApplyThenAnswer(mongowire.Error(50, "operation exceeded time limit")), mongo.IsTimeout, 2},
		"duplicate":           {mongowire.Answer(mongowire.WriteError(11000, "E11000 duplicate key")), mongo.IsDuplicateKeyError, 1},
		"write concern":       {mongowire.ApplyThenWriteConcernError(64, "waiting for replication timed out"), code(64), 2},
		"closed, not applied": {mongowire.CloseBefore, mongo.IsNetworkError, 1},
		"closed, applied":     {mongowire.ApplyThenClose, mongo.IsNetworkError, 2},
		"late":                {mongowire.Delay(time.Millisecond), func(err error) bool { return err == nil }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _, faults, _ := setUp(t, mongowire.Standalone)
			faults.Nth(2, update, test.fault)
			_, err := c.UpdateOne(testContext(t), d("_id", "none"), d("$set", d("n", 7)))
			require.NoError(t, err, "the first passes")
			require.Equal(t, 1, faults.Pending())
			err = increment(testContext(t), c)
			require.True(t, test.is(err), "%v", err)
			require.Zero(t, faults.Pending())
			assert.Equal(t, test.n, number(t, c))
		})
	}
}

func TestFaultsOfEachCommandUntilCleared(t *testing.T) {
	t.Parallel()
	c, _, faults, _ := setUp(t, mongowire.Standalone)
	faults.Each(mongowire.Command.Writes, mongowire.Answer(mongowire.Error(91, "shutting down")))
	for range 3 {
		require.Error(t, increment(testContext(t), c))
	}
	assert.Equal(t, 1, number(t, c))
	faults.Clear()
	require.NoError(t, increment(testContext(t), c))
	assert.Equal(t, 2, number(t, c))
}

// hung sends a command whose answer hangs, gives up, and lets go.
func hung(t *testing.T, fault func(<-chan struct{}) mongowire.Fault) (c *mongo.Collection, release chan struct{}) {
	t.Helper()
	c, sent, faults, _ := setUp(t, mongowire.Standalone)
	release = make(chan struct{})
	faults.Nth(1, mongowire.Named("update"), fault(release))
	ctx, cancel := context.WithCancel(testContext(t))
	answered := make(chan error, 1)
	go func() { answered <- increment(ctx, c) }()
	require.Eventually(t, func() bool { return len(sent.Commands("update")) == 1 }, time.Minute, time.Millisecond)
	select {
	case err := <-answered:
		t.Fatalf("answered at once: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	require.ErrorIs(t, <-answered, context.Canceled)
	return c, release
}

func TestApplyThenHang(t *testing.T) {
	c, release := hung(t, mongowire.ApplyThenHang)
	assert.Equal(t, 2, number(t, c))
	close(release)
}

// A command that was held on its way is applied when it arrives, though nobody
// waits for it any more.
func TestHangBefore(t *testing.T) {
	c, release := hung(t, mongowire.HangBefore)
	assert.Equal(t, 1, number(t, c))
	close(release)
	require.Eventually(t, func() bool { return number(t, c) == 2 }, time.Minute, time.Millisecond)
}

func TestTheServerEndsWithCommandsThatHang(t *testing.T) {
	for _, fault := range []func(<-chan struct{}) mongowire.Fault{mongowire.HangBefore, mongowire.ApplyThenHang} {
		t.Run("", func(t *testing.T) { hung(t, fault) })
	}
}

func TestAPrimaryStepsDown(t *testing.T) {
	t.Parallel()
	c, sent, _, server := setUp(t, mongowire.Primary)
	server.SetRole(mongowire.SteppedDown)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Error(t, increment(ctx, c))
	require.Empty(t, sent.Commands("update"), "refused before the handler")
	err := c.FindOne(ctx, d("_id", "a")).Err()
	require.Error(t, err)
	require.NotErrorIs(t, err, mongo.ErrNoDocuments)

	server.SetRole(mongowire.Primary)
	require.NoError(t, increment(testContext(t), c), "as soon as the driver has asked again")
	assert.Equal(t, 2, number(t, c))
}

// A member that has just stepped down says so to a command that comes before the
// driver knows, and asks to repeat it.
func TestNotPrimary(t *testing.T) {
	t.Parallel()
	c, sent, faults, _ := setUp(t, mongowire.Primary)
	faults.Nth(1, mongowire.Named("update"), func(cmd mongowire.Command, _ func() mongowire.Reply) mongowire.Reply {
		return mongowire.NotPrimary(cmd)
	})
	require.NoError(t, increment(testContext(t), c))
	assert.Len(t, sent.Commands("update"), 2)
	assert.Equal(t, 2, number(t, c))
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	c, _, faults, server := setUp(t, mongowire.Standalone)
	release := make(chan struct{})
	defer close(release)
	var reached atomic.Bool
	faults.Nth(1, mongowire.Named("update"), func(cmd mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		reached.Store(true)
		return mongowire.HangBefore(release)(cmd, apply)
	})
	answered := make(chan error, 1)
	go func() { answered <- increment(testContext(t), c) }()
	require.Eventually(t, reached.Load, time.Minute, time.Millisecond)
	server.Disconnect()
	require.True(t, mongo.IsNetworkError(<-answered))
	assert.Equal(t, 1, number(t, c), "clients may connect again")
}

// Unacknowledged writes get no reply, and the connection stays in step.
func TestOneWayWrites(t *testing.T) {
	store := mongowire.Memory()
	c := connect(t, mongowire.Start(t, store.Handle))
	unacknowledged := c.Database().Collection("keys", options.Collection().SetWriteConcern(writeconcern.Unacknowledged()))
	for i := range 10 {
		_, err := unacknowledged.InsertOne(testContext(t), d("_id", i))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return len(store.Documents("test.keys")) == 10 }, time.Minute, time.Millisecond)
	require.NoError(t, c.FindOne(testContext(t), d("_id", 3)).Err())
}

func TestGarbageFailsTheTest(t *testing.T) {
	fake := &fakeTB{TB: t}
	server := mongowire.Start(fake, mongowire.Memory().Handle)
	conn, err := net.Dial("tcp", server.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	_, err = io.ReadAll(conn)
	if err != nil {
		require.ErrorContains(t, err, "reset")
	}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	require.Len(t, fake.failed, 1)
	assert.Contains(t, fake.failed[0], "malformed")
}
