package mongo_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

// everyCall makes each call at least once, with what it does on the way.
func everyCall(t *testing.T, b *mongo.Backend) {
	t.Helper()
	ctx := testContext(t)
	require.NoError(t, b.EnsureIndexes(ctx))
	for _, id := range []string{"a", "b", "c"} {
		require.NoError(t, b.Create(ctx, backend.Record{ID: id, Owner: "alice", Data: []byte(id), PurgeAt: now}))
	}
	require.ErrorIs(t, b.Create(ctx, backend.Record{ID: "a", Owner: "alice"}), backend.ErrExists)
	require.NoError(t, b.Update(ctx, backend.Record{ID: "a", Data: []byte("2"), PurgeAt: now, Revision: 1}))
	require.ErrorIs(t, b.Update(ctx, backend.Record{ID: "a", Data: []byte("3"), Revision: 1}), backend.ErrConflict)
	require.NoError(t, b.Touch(ctx, map[string]time.Time{"a": now, "b": now, "missing": now}))
	require.NoError(t, b.Delete(ctx, "a"))
	n, err := b.Purge(ctx, now, 10)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	_, err = b.Get(ctx, "a")
	require.ErrorIs(t, err, backend.ErrNotFound)
	for _, owner := range []string{"", "alice"} {
		_, err = b.List(ctx, backend.ListOptions{Owner: owner, Limit: 10})
		require.NoError(t, err)
	}
	_, err = b.Watch(ctx)
	require.NoError(t, err)

	for n := range 2*backend.KeptWindows + 1 { // the last one drops some
		spends(t, b, spending("a", uint64(n), windowAt("burst", time.Second, n, 1)), 1)
	}
	denies(t, b, spending("a", 100, windowAt("burst", time.Second, 0, 0)), 0)
	require.NoError(t, b.ResetCounts(ctx, "a"))
	spends(t, b, spending("a", 0, day), 1)
	n, err = b.PurgeCounts(ctx, day.End(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	for id := range uint64(2) {
		require.NoError(t, b.AddUsage(ctx, []backend.Addition{addition("ka", today, id), addition("oalice", today, id)}))
	}
	_, err = b.Usage(ctx, "ka", today, today.AddDate(0, 0, 2))
	require.NoError(t, err)
	n, err = b.PurgeUsage(ctx, now, 10)
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

// Every write names one document by its _id, and one of a key the revision on which
// it rests: that is what makes it atomic on any server and safe to make again. All go to
// the primary, to be held by a majority and its journals, and none is one that
// the client library repeats, whatever the collection's own settings are.
func TestCommands(t *testing.T) {
	for name, role := range map[string]mongowire.Role{"standalone": mongowire.Standalone, "replica set": mongowire.Primary, "router": mongowire.Mongos} {
		t.Run(name, func(t *testing.T) {
			w := startWire(t, role)
			w.store.SetClock(func(string) time.Time { return time.Now().Add(-time.Hour) }) // tombstones are old
			weak := options.Collection().SetReadConcern(readconcern.Local()).SetReadPreference(readpref.Nearest()).SetWriteConcern(writeconcern.W1())
			everyCall(t, newBackend(t, connect(t, w.URL()).Database("test").Collection("keys", weak), nil))

			writes := w.sent.Commands("insert", "update", "delete", "findAndModify")
			require.NotEmpty(t, w.sent.Commands("update"))
			require.NotEmpty(t, w.sent.Commands("delete"), "of tombstones")
			require.NotEmpty(t, w.sent.Commands("findAndModify"), "of counts")
			assert.Empty(t, w.sent.Commands("insert"))
			for _, cmd := range writes {
				assert.Equal(t, "majority", cmd.WriteConcern())
				assert.True(t, cmd.Journaled())
				_, numbered := cmd.TxnNumber()
				assert.False(t, numbered)
				require.NotEmpty(t, cmd.Filters())
				for _, filter := range cmd.Filters() {
					assert.Equal(t, bson.TypeString, filter.Lookup("_id").Type, "%v", filter)
					if cmd.Collection() == "keys" {
						assert.NotZero(t, filter.Lookup("rev").Type, "%v", filter)
					}
				}
				if cmd.Name == "findAndModify" {
					assert.Equal(t, "keys.counts", cmd.Collection())
					continue
				}
				for _, statement := range statements(t, cmd) {
					if cmd.Name == "delete" {
						assert.EqualValues(t, 1, statement.Lookup("limit").AsInt64())
					}
					assert.Zero(t, statement.Lookup("multi").Type, "one document is the default")
					assert.Zero(t, statement.Lookup("collation").Type)
				}
			}
			for _, cmd := range w.sent.Commands("find") {
				assert.Equal(t, "majority", cmd.ReadConcern())
				assert.Zero(t, cmd.Body.Lookup("collation").Type)
				mode, _ := cmd.Body.Lookup("$readPreference", "mode").StringValueOK()
				assert.Contains(t, []string{"", "primary"}, mode)
			}
			var names []string
			for _, cmd := range w.sent.Commands() {
				if !slices.Contains(names, cmd.Name) {
					names = append(names, cmd.Name)
				}
			}
			slices.Sort(names)
			assert.Equal(t, []string{"createIndexes", "delete", "find", "findAndModify", "hello", "listCollections", "listIndexes", "update"}, names,
				"docs/mongo.md lists what a server must have and a user must be allowed")
		})
	}
}

// Only lookups are linearizable: they are by _id alone, as the server demands, and
// bounded by the deadline, since a member cut off from its set would wait for ever.
func TestLinearizable(t *testing.T) {
	w := startWire(t, mongowire.Primary)
	b := w.open(t, &mongo.Options{Linearizable: true, PollInterval: time.Hour})
	everyCall(t, b)
	linearizable := 0
	for _, cmd := range w.sent.Commands("find") {
		if cmd.ReadConcern() == "majority" {
			continue
		}
		linearizable++
		assert.Equal(t, "linearizable", cmd.ReadConcern())
		filter, err := cmd.Filters()[0].Elements()
		require.NoError(t, err)
		require.Len(t, filter, 1)
		assert.Equal(t, "_id", filter[0].Key())
		ms, _ := cmd.Body.Lookup("maxTimeMS").AsInt64OK()
		assert.Positive(t, ms)
	}
	assert.Equal(t, 1, linearizable, "Get, and nothing else")

	w.sent.Reset()
	_, err := b.Get(t.Context(), "a") // without a deadline
	require.ErrorIs(t, err, backend.ErrNotFound)
	ms, _ := w.sent.Commands("find")[0].Body.Lookup("maxTimeMS").AsInt64OK()
	assert.Positive(t, ms)
}

// A program's own registry does not change what is stored.
func TestForeignRegistry(t *testing.T) {
	w := startWire(t)
	odd := options.Client().SetBSONOptions(&options.BSONOptions{IntMinSize: true, NilByteSliceAsEmpty: true, StringifyMapKeysWithFmt: true})
	b, ctx := newBackend(t, connect(t, w.URL(), odd).Database("test").Collection("keys"), nil), testContext(t)
	require.NoError(t, b.Create(ctx, backend.Record{ID: "a", Owner: "alice"}))
	assert.Equal(t, bson.TypeInt64, w.document(t).Lookup("rev").Type)
}

func statements(t *testing.T, cmd mongowire.Command) []bson.Raw {
	t.Helper()
	list, ok := cmd.Body.Lookup(cmd.Name + "s").ArrayOK()
	require.True(t, ok)
	values, err := list.Values()
	require.NoError(t, err)
	var all []bson.Raw
	for _, v := range values {
		all = append(all, v.Document())
	}
	return all
}

// What is called within a transaction of the program is no part of it.
func TestWithinATransaction(t *testing.T) {
	w := startWire(t, mongowire.Primary)
	client := connect(t, w.URL())
	b := newBackend(t, client.Database("test").Collection("keys"), nil)
	session, err := client.StartSession()
	require.NoError(t, err)
	defer session.EndSession(t.Context())
	require.NoError(t, session.StartTransaction())
	ctx := mongodb.NewSessionContext(testContext(t), session)
	require.NoError(t, b.Create(ctx, backend.Record{ID: "a", Owner: "alice"}))
	_, err = b.Get(ctx, "a")
	require.NoError(t, err)
	require.ErrorIs(t, b.Update(ctx, backend.Record{ID: "a", Revision: 7}), backend.ErrConflict)
	_, err = b.Spend(ctx, spending("a", 1, day))
	require.NoError(t, err)
	_, err = b.Counts(ctx, "a", []backend.Window{day})
	require.NoError(t, err)
	require.NoError(t, b.AddUsage(ctx, []backend.Addition{addition("ka", today, 1)}))
	for _, cmd := range w.sent.Commands() {
		assert.Zero(t, cmd.Body.Lookup("autocommit").Type)
		assert.Zero(t, cmd.Body.Lookup("startTransaction").Type)
	}
}
