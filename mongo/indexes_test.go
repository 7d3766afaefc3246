package mongo_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

// indexNames are those of the collections beside the keys, without that of _id.
func indexNames(t *testing.T, keys *mongodb.Collection) []string {
	t.Helper()
	var all []string
	for _, suffix := range []string{".counts", ".usage"} {
		for name := range indexKeys(t, keys.Database().Collection(keys.Name()+suffix)) {
			if name != "_id_" {
				all = append(all, suffix+" "+name)
			}
		}
	}
	return all
}

func indexKeys(t *testing.T, coll *mongodb.Collection) map[string]bson.D {
	t.Helper()
	specs, err := coll.Indexes().ListSpecifications(testContext(t))
	require.NoError(t, err)
	all := make(map[string]bson.D)
	for _, s := range specs {
		var key bson.D
		require.NoError(t, bson.Unmarshal(s.KeysDocument, &key))
		all[s.Name] = key
	}
	return all
}

func TestEnsureIndexes(t *testing.T) {
	t.Parallel()
	for name, coll := range servers(t, "indexes") {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBackend(t, coll, nil), testContext(t)
			for range 2 {
				require.NoError(t, b.EnsureIndexes(ctx))
				assert.Equal(t, map[string]bson.D{
					"_id_":          d("_id", int32(1)),
					"owner_1__id_1": d("owner", int32(1), "_id", int32(1)),
					"purge_at_1":    d("purge_at", int32(1)),
					"changed_1":     d("changed", int32(1)),
				}, indexKeys(t, coll))
				assert.Equal(t, []string{".counts purge_at_1", ".usage purge_at_1"}, indexNames(t, coll))
			}
		})
	}
}

// Several processes start at once.
func TestEnsureIndexesAtOnce(t *testing.T) {
	t.Parallel()
	for name, coll := range servers(t, "indexesatonce") {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			for range 6 {
				b := newBackend(t, coll, nil)
				all.Go(func() {
					if err := b.EnsureIndexes(testContext(t)); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			assert.Len(t, indexKeys(t, coll), 4)
			assert.Len(t, indexNames(t, coll), 2)
		})
	}
}

// What is there by other names, made by an operator, is taken.
func TestIndexesOfOtherNames(t *testing.T) {
	t.Parallel()
	for name, coll := range servers(t, "othernames") {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			_, err := coll.Indexes().CreateMany(ctx, []mongodb.IndexModel{
				{Keys: d("owner", 1, "_id", 1), Options: options.Index().SetName("by owner")},
				{Keys: d("purge_at", 1), Options: options.Index().SetName("by time")},
				{Keys: d("owner", 1), Options: options.Index().SetName("something else")},
			})
			require.NoError(t, err)
			require.NoError(t, newBackend(t, coll, nil).EnsureIndexes(ctx))
			assert.Len(t, indexKeys(t, coll), 5, "only that of changed was missing")
		})
	}
}

func TestConflictingIndexes(t *testing.T) {
	index := func(name string, keys bson.D, more ...any) bson.D {
		return append(d("v", int32(2), "name", name, "key", keys), d(more...)...)
	}
	for name, c := range map[string]struct {
		index bson.D
		want  string // "": it is none
	}{
		"one that expires purge_at":       {index("old ttl", d("purge_at", 1), "expireAfterSeconds", int32(0)), `"old ttl" would delete documents`},
		"one that expires last_used":      {index("x", d("last_used", 1), "expireAfterSeconds", int64(86400)), `"x" would delete documents`},
		"one that expires something else": {index("x", d("foo", 1), "expireAfterSeconds", 3.5), `"x" would delete documents`},
		"one owner, one key":              {index("x", d("owner", 1), "unique", true), `"x" is unique`},
		"unique beside the id":            {index("x", d("owner", 1, "_id", 1), "unique", true), ""},
		"partial":                         {index("x", d("purge_at", 1), "partialFilterExpression", d("owner", "a")), `"x" has the keys`},
		"hidden":                          {index("x", d("changed", 1), "hidden", true), `"x" has the keys`},
		"of a language":                   {index("x", d("owner", 1, "_id", 1), "collation", d("locale", "de")), `"x" has the keys`},
		"of a simple language":            {index("x", d("owner", 1, "_id", 1), "collation", d("locale", "simple")), ""},
		"the other way round":             {index("x", d("_id", 1, "owner", 1)), ""},
		"descending":                      {index("x", d("purge_at", -1)), ""},
		"hashed":                          {index("x", d("_id", "hashed")), ""},
		"numbers of another kind":         {index("x", d("purge_at", 1.0)), ""},
		"sparse":                          {index("x", d("purge_at", 1), "sparse", true), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			w.faults.Each(mongowire.Named("listIndexes"), mongowire.Answer(mongowire.Found("test.keys", c.index)))
			err := w.open(t, nil).EnsureIndexes(testContext(t))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "drop it")
			assert.Empty(t, w.sent.Commands("createIndexes"))
			_, err = backend.Open(testContext(t), w.URL()+"s3cret?collection=s3cret", nil)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
}

// The collections beside that of the keys are looked at like it.
func TestCollectionsBeside(t *testing.T) {
	t.Parallel()
	expires := d("v", int32(2), "name", "x", "key", d("purge_at", 1), "expireAfterSeconds", int32(0))
	capped := d("name", "?", "type", "collection", "options", d("capped", true, "size", 4096))
	for _, suffix := range []string{".counts", ".usage"} {
		for _, c := range []struct {
			command string
			match   func(cmd mongowire.Command) bool
			answer  mongowire.Reply
			want    string
		}{
			{"listIndexes", func(cmd mongowire.Command) bool { return cmd.Collection() == "keys"+suffix },
				mongowire.Found("test.keys"+suffix, expires), `index "x" would delete documents`},
			{"listCollections", func(cmd mongowire.Command) bool {
				return cmd.Body.Lookup("filter", "name").StringValue() == "keys"+suffix
			}, mongowire.Found("test.$cmd.listCollections", capped), "capped"},
			{"createIndexes", func(cmd mongowire.Command) bool { return cmd.Collection() == "keys"+suffix },
				mongowire.Error(13, "not authorized"), "{purge_at: 1} are missing"},
		} {
			w := startWire(t)
			w.faults.Each(func(cmd mongowire.Command) bool { return cmd.Name == c.command && c.match(cmd) }, mongowire.Answer(c.answer))
			_, err := backend.Open(testContext(t), w.URL()+"test", nil)
			require.ErrorContains(t, err, "in the collection that ends in "+suffix+": ", c.command)
			require.ErrorContains(t, err, c.want)
		}
	}
	client := connect(t, startWire(t).URL())
	for _, name := range []string{"keys.counts", "keys.usage", ".counts"} {
		_, err := mongo.New(client.Database("test").Collection(name), nil)
		require.ErrorContains(t, err, "ends in .counts or .usage", name)
		_, err = backend.Open(testContext(t), "mongodb://127.0.0.1:1/?collection="+name, nil)
		require.ErrorIs(t, err, backend.ErrInvalidURL, name)
	}
}

// A user with few rights can use what an operator has prepared.
func TestRightsOnIndexes(t *testing.T) {
	unauthorized := mongowire.Answer(mongowire.Error(13, "not authorized on s3cret to execute command"))
	for name, c := range map[string]struct {
		prepared bool
		refused  []string
		want     string
		warned   bool
	}{
		"all in place, may not make":  {true, []string{"createIndexes"}, "", false},
		"missing, may not make":       {false, []string{"createIndexes"}, "{owner: 1, _id: 1} and {purge_at: 1} and {changed: 1} are missing", false},
		"may make and not list":       {false, []string{"listIndexes"}, "", false},
		"may neither make nor list":   {false, []string{"listIndexes", "createIndexes"}, "", true},
		"may not see the collections": {true, []string{"listCollections"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			var log logBuffer
			b := w.open(t, &mongo.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if c.prepared {
				require.NoError(t, b.EnsureIndexes(testContext(t)))
			}
			w.faults.Each(mongowire.Named(c.refused...), unauthorized)
			err := b.EnsureIndexes(testContext(t))
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			assert.Equal(t, c.warned, log.contains("may neither list nor make indexes"))
		})
	}
}

func TestCollectionsThatAreNoStore(t *testing.T) {
	for name, c := range map[string]struct {
		entry bson.D
		want  string
	}{
		"capped":                {d("name", "keys", "type", "collection", "options", d("capped", true, "size", 4096)), "capped"},
		"with a collation":      {d("name", "keys", "type", "collection", "options", d("collation", d("locale", "en", "strength", 2))), "collation"},
		"with a simple one":     {d("name", "keys", "type", "collection", "options", d("collation", d("locale", "simple"))), ""},
		"a view":                {d("name", "keys", "type", "view", "options", d("viewOn", "others")), "view"},
		"a series":              {d("name", "keys", "type", "timeseries", "options", d("timeseries", d("timeField", "t"))), "timeseries"},
		"a series, told else":   {d("name", "keys", "type", "collection", "options", d("timeseries", d("timeField", "t"))), "time series"},
		"a server of few words": {d("name", "keys"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			w.faults.Each(mongowire.Named("listCollections"), mongowire.Answer(mongowire.Found("test.$cmd.listCollections", c.entry)))
			err := w.open(t, nil).EnsureIndexes(testContext(t))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, w.sent.Commands("createIndexes", "update"))
		})
	}
}

// What one process could not make, another one has made.
func TestIndexesMadeByOthers(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	other := w.open(t, nil)
	w.faults.Nth(1, mongowire.Named("createIndexes"), func(mongowire.Command, func() mongowire.Reply) mongowire.Reply {
		if err := other.EnsureIndexes(context.Background()); err != nil {
			t.Error(err)
		}
		return mongowire.Error(85, "Index already exists with a different name")
	})
	require.NoError(t, w.open(t, nil).EnsureIndexes(testContext(t)))

	w = startWire(t)
	w.faults.Each(mongowire.Named("createIndexes"), mongowire.Answer(mongowire.Error(67, "no room for another index")))
	require.ErrorContains(t, w.open(t, nil).EnsureIndexes(testContext(t)), "no room")
}
