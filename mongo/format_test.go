package mongo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
)

var serverTime = time.UnixMilli(1_900_000_000_123).UTC()

func extJSON(t testing.TB, doc bson.Raw) string {
	t.Helper()
	text, err := bson.MarshalExtJSON(doc, true, false)
	require.NoError(t, err)
	return string(text)
}

// The documents are a format that others may read: docs/mongo.md.
func TestDocuments(t *testing.T) {
	w := startWire(t)
	w.store.SetClock(func(string) time.Time { return serverTime })
	b, ctx := w.open(t, nil), testContext(t)
	ids := make(map[int64]bool)
	holds := func(want string) {
		t.Helper()
		var doc bson.D
		require.NoError(t, bson.Unmarshal(w.document(t), &doc))
		at := slices.IndexFunc(doc, func(e bson.E) bool { return e.Key == "write_id" })
		require.GreaterOrEqual(t, at, 0)
		ids[doc[at].Value.(int64)] = true // an int64, and random
		rest, err := bson.Marshal(slices.Delete(doc, at, at+1))
		require.NoError(t, err)
		assert.JSONEq(t, want, extJSON(t, rest))
	}
	const changed = `{"$date": {"$numberLong": "1900000000123"}}`

	r := backend.Record{ID: "key-1", Owner: "alice", Data: []byte("one"), Revision: 9, LastUsed: now}
	require.NoError(t, b.Create(ctx, r))
	holds(`{"_id": "key-1", "owner": "alice", "rev": {"$numberLong": "1"}, "data": {"$binary": {"base64": "b25l", "subType": "00"}},
		"changed": ` + changed + `}`)

	r.Data, r.Revision, r.PurgeAt = nil, 1, time.UnixMilli(0)
	require.NoError(t, b.Update(ctx, r))
	require.NoError(t, b.Touch(ctx, map[string]time.Time{"key-1": time.UnixMilli(5)}))
	holds(`{"_id": "key-1", "owner": "alice", "rev": {"$numberLong": "2"}, "data": {"$binary": {"base64": "", "subType": "00"}},
		"purge_at": {"$date": {"$numberLong": "0"}}, "last_used": {"$date": {"$numberLong": "5"}},
		"changed": ` + changed + `}`)

	require.NoError(t, b.Delete(ctx, "key-1"))
	holds(`{"_id": "key-1", "rev": {"$numberLong": "0"}, "purge_at": ` + changed + `, "changed": ` + changed + `}`)
	require.NoError(t, b.Delete(ctx, "key-1"))
	require.NoError(t, b.Touch(ctx, map[string]time.Time{"key-1": now}))
	holds(`{"_id": "key-1", "rev": {"$numberLong": "0"}, "purge_at": ` + changed + `, "changed": ` + changed + `}`)

	require.NoError(t, b.Create(ctx, backend.Record{ID: "key-1", Owner: "bob", Data: []byte("one")}))
	holds(`{"_id": "key-1", "owner": "bob", "rev": {"$numberLong": "1"}, "data": {"$binary": {"base64": "b25l", "subType": "00"}},
		"changed": ` + changed + `}`)
	assert.Len(t, ids, 4, "another one with each change")
}

// What other tools leave in the collection is never a key and never in the way.
func TestForeignDocuments(t *testing.T) {
	data := bson.Binary{Data: []byte("d")}
	good := func(change ...any) bson.D {
		fields := map[string]any{}
		for i := 0; i < len(change); i += 2 {
			fields[change[i].(string)] = change[i+1]
		}
		doc := d()
		for _, e := range d("_id", "m-foreign", "owner", "alice", "rev", int64(3), "data", data, "purge_at", now, "last_used", now) {
			if v, changed := fields[e.Key]; changed {
				e.Value = v
			}
			if e.Value != nil {
				doc = append(doc, e)
			}
		}
		return doc
	}
	for name, doc := range map[string]bson.D{
		"nothing but an id":       d("_id", "m-foreign"),
		"no revision":             good("rev", nil),
		"revision a string":       good("rev", "3"),
		"negative revision":       good("rev", int64(-3)),
		"half a revision":         good("rev", 3.5),
		"no owner":                good("owner", nil),
		"owner an object":         good("owner", d("$ne", "")),
		"no data":                 good("data", nil),
		"data a string":           good("data", "text"),
		"data a UUID":             good("data", bson.Binary{Subtype: bson.TypeBinaryUUID, Data: make([]byte, 16)}),
		"purge_at a number":       good("purge_at", int64(5)),
		"last_used a string":      good("last_used", "5"),
		"purge_at is null":        good("purge_at", bson.Null{}),
		"a later format":          good("rev", d("v", 2)),
		"a write id that is text": append(good("data", nil), d("write_id", "text")...),
		"a later form of all":     d("_id", "m-foreign", "rev", "2.0", "records", bson.A{}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			b, ctx := w.open(t, nil), testContext(t)
			coll := connect(t, w.URL()).Database("test").Collection("keys")
			_, err := coll.InsertOne(ctx, doc)
			require.NoError(t, err)
			for _, id := range []string{"a", "z"} {
				require.NoError(t, b.Create(ctx, backend.Record{ID: id, Owner: "alice", Data: []byte("d")}))
			}

			r, err := b.Get(ctx, "m-foreign")
			require.NoError(t, err)
			assert.Equal(t, backend.Record{ID: "m-foreign"}, r, "no reader takes it for a key")
			page, err := b.List(ctx, backend.ListOptions{Limit: 10})
			require.NoError(t, err)
			require.Len(t, page, 3)
			assert.Equal(t, r, page[1])
			require.ErrorIs(t, b.Create(ctx, backend.Record{ID: "m-foreign", Owner: "alice", Data: []byte("d")}), backend.ErrExists)
			err = b.Update(ctx, backend.Record{ID: "m-foreign", Data: []byte("d"), Revision: 7})
			require.Error(t, err)
			assert.NotErrorIs(t, err, backend.ErrNotFound)
			require.NoError(t, b.Touch(ctx, map[string]time.Time{"m-foreign": now, "z": now}))
			_, err = b.Purge(ctx, now.Add(-time.Hour), 10)
			require.NoError(t, err)
			require.NoError(t, b.Delete(ctx, "m-foreign"))
			_, err = b.Get(ctx, "m-foreign")
			require.ErrorIs(t, err, backend.ErrNotFound)
			page, err = b.List(ctx, backend.ListOptions{Limit: 10})
			require.NoError(t, err)
			assert.Len(t, page, 2)
		})
	}
}

// Numbers that other tools write as another type are the same numbers.
func TestForeignNumbers(t *testing.T) {
	w := startWire(t)
	b, ctx := w.open(t, nil), testContext(t)
	coll := connect(t, w.URL()).Database("test").Collection("keys")
	for i, rev := range []any{int32(3), float64(3), int64(3)} {
		id := fmt.Sprint("key-", i)
		_, err := coll.InsertOne(ctx, d("_id", id, "owner", "alice", "rev", rev, "data", []byte("d")))
		require.NoError(t, err)
		r, err := b.Get(ctx, id)
		require.NoError(t, err)
		require.EqualValues(t, 3, r.Revision)
		require.NoError(t, b.Update(ctx, r))
	}
	for i, rev := range []any{int32(0), float64(0), int64(0)} {
		id := fmt.Sprint("gone-", i)
		_, err := coll.InsertOne(ctx, d("_id", id, "rev", rev))
		require.NoError(t, err)
		_, err = b.Get(ctx, id)
		require.ErrorIs(t, err, backend.ErrNotFound)
		require.NoError(t, b.Create(ctx, backend.Record{ID: id, Owner: "alice", Data: []byte("d")}))
	}
	_, err := coll.InsertOne(ctx, d("_id", bson.NewObjectID(), "owner", "alice", "rev", int64(1), "data", []byte("d"), "purge_at", now))
	require.NoError(t, err)
	page, err := b.List(ctx, backend.ListOptions{Limit: 100})
	require.NoError(t, err)
	assert.Len(t, page, 6, "what has no string for an id is no record")
	n, err := b.Purge(ctx, now, 10)
	require.NoError(t, err)
	assert.Equal(t, 1, n, "but it is not in the way of a purge")
}

// Text that means something to the server, or to a JSON parser, is data.
func TestOperatorsAreData(t *testing.T) {
	t.Parallel()
	texts := []string{
		`{"$ne": ""}`, `{"$gt": ""}`, `{"$where": "sleep(1000)"}`, `$owner`, `$$ROOT`, `owner.name`, `.`, `$`, `a.$[]`, `"; db.keys.drop(); "`,
		`ObjectId("507f1f77bcf86cd799439011")`, `/.*/`, "\u0001\n\r\t", `null`, `true`, `0`, "🔑 ключ 鍵", strings.Repeat("ü", 128),
	}
	for name, coll := range servers(t, "operators") {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBackend(t, coll, nil), testContext(t)
			for i, text := range texts {
				r := backend.Record{ID: fmt.Sprint("key-", i), Owner: text, Data: []byte(text)}
				require.NoError(t, b.Create(ctx, r))
				got, err := b.Get(ctx, r.ID)
				require.NoError(t, err)
				assert.Equal(t, text, got.Owner)
				assert.Equal(t, text, string(got.Data))
				page, err := b.List(ctx, backend.ListOptions{Owner: text, Limit: 100})
				require.NoError(t, err)
				assert.Equal(t, []backend.Record{got}, page, "%q", text)
			}
			for _, text := range texts { // none of them is an id
				_, err := b.Get(ctx, text)
				require.ErrorIs(t, err, backend.ErrNotFound, "%q", text)
				require.NoError(t, b.Delete(ctx, text))
				require.NoError(t, b.Touch(ctx, map[string]time.Time{text: now}))
				page, err := b.List(ctx, backend.ListOptions{Owner: text + "x", Limit: 100})
				require.NoError(t, err)
				assert.Empty(t, page)
			}
			page, err := b.List(ctx, backend.ListOptions{Limit: 100})
			require.NoError(t, err)
			assert.Len(t, page, len(texts))
			for _, r := range page {
				assert.Zero(t, r.LastUsed)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, coll := range servers(t, "limits") {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBackend(t, coll, nil), testContext(t)
			largest := backend.Record{
				ID: strings.Repeat("Z", backend.MaxIDLen), Owner: strings.Repeat("🔑", backend.MaxOwnerLen/4), Data: make([]byte, backend.MaxDataLen),
				PurgeAt: time.Date(8888, 12, 31, 23, 59, 59, 999e6, time.UTC),
			}
			require.NoError(t, b.Create(ctx, largest))
			got, err := b.Get(ctx, largest.ID)
			require.NoError(t, err)
			largest.Revision = 1
			assert.Equal(t, largest, got)
			page, err := b.List(ctx, backend.ListOptions{Owner: largest.Owner, Limit: 2})
			require.NoError(t, err)
			assert.Equal(t, []backend.Record{largest}, page)

			for _, r := range []backend.Record{
				{ID: largest.ID + "Z", Owner: "o"}, {ID: "", Owner: "o"}, {ID: "x", Owner: "o", Data: make([]byte, backend.MaxDataLen+1)},
				{ID: "x", Owner: "o", PurgeAt: time.Unix(1<<62, 0)},
			} {
				require.ErrorIs(t, b.Create(ctx, r), backend.ErrNotApplied)
				r.Revision = 1
				require.ErrorIs(t, b.Update(ctx, r), backend.ErrNotApplied)
			}
			require.ErrorIs(t, b.Touch(ctx, map[string]time.Time{"x": time.Unix(1<<62, 0)}), backend.ErrNotApplied)
			_, err = b.Purge(ctx, time.Unix(1<<62, 0), 1)
			require.ErrorIs(t, err, backend.ErrNotApplied)
			for _, revision := range []uint64{0, 2, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
				r := largest
				r.Data = []byte("other") // the same bytes upon revision 0 would be a repeat
				r.Revision = revision
				require.ErrorIs(t, b.Update(ctx, r), backend.ErrConflict, "%d", revision)
			}
		})
	}
}

// A page is cut where it holds 4 MiB, and the next one goes on there.
func TestPageOfLargeRecords(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, ctx := w.open(t, nil), testContext(t)
	const records = 150
	for i := range records {
		require.NoError(t, b.Create(ctx, backend.Record{ID: fmt.Sprintf("key-%03d", i), Owner: "alice", Data: make([]byte, backend.MaxDataLen)}))
	}
	var all []string
	for o := (backend.ListOptions{Owner: "alice", Limit: backend.MaxLimit}); ; {
		page, err := b.List(ctx, o)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		size := 0
		for _, r := range page {
			size += len(r.Data)
			all = append(all, r.ID)
		}
		require.LessOrEqual(t, size, 4<<20+backend.MaxDataLen)
		o.After = page[len(page)-1].ID
	}
	require.Len(t, all, records)
	assert.Equal(t, "key-149", all[records-1])
}

// A reply that belongs to another key is no answer.
func TestAnotherDocument(t *testing.T) {
	w := startWire(t)
	b, ctx := w.open(t, nil), testContext(t)
	require.NoError(t, b.Create(ctx, backend.Record{ID: "mine", Owner: "alice", Data: []byte("d")}))
	require.NoError(t, b.Create(ctx, backend.Record{ID: "other", Owner: "bob", Data: []byte("d")}))
	other := w.documents()[1]
	w.faults.Each(mongowire.Named("find"), mongowire.Answer(mongowire.Found("test.keys", other)))
	r, err := b.Get(ctx, "mine")
	require.Error(t, err)
	assert.Zero(t, r)
	assert.NotErrorIs(t, err, backend.ErrNotFound)
	err = b.Update(ctx, backend.Record{ID: "mine", Data: []byte("d"), Revision: 5})
	require.Error(t, err)
	assert.NotErrorIs(t, err, backend.ErrConflict)
	assert.NotErrorIs(t, err, backend.ErrNotFound)
}
