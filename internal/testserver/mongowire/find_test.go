package mongowire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/internal/testserver/mongowire"
)

// ids returns the ids that a search finds, in its order.
func ids(t *testing.T, c *mongo.Collection, filter bson.D, o ...options.Lister[options.FindOptions]) []string {
	t.Helper()
	cursor, err := c.Find(testContext(t), filter, o...)
	require.NoError(t, err)
	var docs []struct {
		ID string `bson:"_id"`
	}
	require.NoError(t, cursor.All(testContext(t), &docs))
	found := []string{}
	for _, doc := range docs {
		found = append(found, doc.ID)
	}
	return found
}

func TestFilters(t *testing.T) { onEach(t, testFilters) }

func testFilters(t *testing.T, c *mongo.Collection) {
	ctx := testContext(t)
	at := func(ms int64) bson.DateTime { return bson.DateTime(ms) }
	for _, doc := range []bson.D{
		d("_id", "a", "owner", "o", "at", at(10), "n", int32(1)),
		d("_id", "b", "owner", "o", "at", at(20), "n", int64(2)),
		d("_id", "c", "owner", "p", "n", 2.5),
		d("_id", "d", "owner", "p", "at", nil, "gone", true),
		d("_id", "e", "owner", "q", "list", bson.A{int64(1), "x", int64(3)}),
	} {
		_, err := c.InsertOne(ctx, doc)
		require.NoError(t, err)
	}
	byID := options.Find().SetSort(d("_id", 1))
	for name, test := range map[string]struct {
		filter bson.D
		want   string
	}{
		"all":                          {d(), "abcde"},
		"equal":                        {d("owner", "o"), "ab"},
		"equal and after":              {d("owner", "o", "_id", d("$gt", "a")), "b"},
		"range of strings":             {d("_id", d("$gte", "b", "$lt", "d")), "bc"},
		"dates not after":              {d("at", d("$lte", at(10))), "a"},
		"dates from":                   {d("at", d("$gte", at(10))), "ab"},
		"a range has one type":         {d("at", d("$gt", int64(0))), ""},
		"numbers of all types":         {d("n", d("$gte", int32(2))), "bc"},
		"number as another type":       {d("n", 1.0), "a"},
		"null is also what is missing": {d("at", nil), "cde"},
		"exists":                       {d("at", d("$exists", true)), "abd"},
		"exists not":                   {d("gone", d("$exists", false)), "abce"},
		"in":                           {d("_id", d("$in", bson.A{"a", "x", "e"})), "ae"},
		"not equal":                    {d("owner", d("$ne", "o")), "cde"},
		"by id":                        {d("_id", "c"), "c"},
		"by id and more":               {d("_id", "c", "owner", "o"), ""},
		"explicitly equal":             {d("owner", d("$eq", "p")), "cd"},
		"a member of a list":           {d("list", int64(3)), "e"},
		"no member of a list":          {d("list", int64(2)), ""},
		"not a member":                 {d("list", d("$ne", int64(3))), "abcd"},
		"not a member, but another":    {d("list", d("$ne", "y")), "abcde"},
		"one of a list's members":      {d("list", d("$in", bson.A{"y", "x"})), "e"},
		"a range with a member":        {d("list", d("$gt", int64(2))), "e"},
		"a range with no member":       {d("list", d("$gt", int64(3))), ""},
		"none of one":                  {d("$nor", bson.A{d("owner", "o")}), "cde"},
		"none of several":              {d("$nor", bson.A{d("owner", "o"), d("n", d("$gt", 2)), d("list", "x")}), "d"},
		"what is missing is in no range, nor is what is no number": {
			d("$nor", bson.A{d("n", d("$gt", int64(1))), d("n", d("$lt", int64(1))), d("gone", d("$gt", int64(0)))}), "ade"},
		"none of some, and more": {d("_id", "e", "$nor", bson.A{d("owner", "o"), d("list", "y")}), "e"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, strings.Join(ids(t, c, test.filter, byID), ""))
		})
	}
	t.Run("a document as data", func(t *testing.T) {
		beyondFerretDB(t, c, "names of fields that begin with '$'")
		_, err := c.InsertOne(ctx, d("_id", "f", "owner", d("$ne", "")))
		require.NoError(t, err)
		assert.Equal(t, []string{"f"}, ids(t, c, d("owner", d("$eq", d("$ne", "")))))
		_, err = c.DeleteOne(ctx, d("_id", "f"))
		require.NoError(t, err)
	})
	t.Run("order", func(t *testing.T) {
		assert.Equal(t, "edcba", strings.Join(ids(t, c, d(), options.Find().SetSort(d("_id", -1))), ""))
		assert.Equal(t, "ecdab", strings.Join(ids(t, c, d(), options.Find().SetSort(d("at", 1, "gone", 1, "owner", -1))), ""), "what is missing comes first")
		assert.Equal(t, "bc", strings.Join(ids(t, c, d("_id", d("$gt", "a")), options.Find().SetSort(d("_id", 1)).SetLimit(2)), ""))
	})
	t.Run("projection", func(t *testing.T) {
		var doc bson.D
		require.NoError(t, c.FindOne(ctx, d("_id", "a"), options.FindOne().SetProjection(d("n", 1, "at", 1))).Decode(&doc))
		assert.Equal(t, d("_id", "a", "at", at(10), "n", int32(1)), doc)
		doc = nil
		require.NoError(t, c.FindOne(ctx, d("_id", "a"), options.FindOne().SetProjection(d("owner", 0))).Decode(&doc))
		assert.Equal(t, d("_id", "a", "at", at(10), "n", int32(1)), doc)
	})
}

func TestCursorsGoOnWhereTheyStopped(t *testing.T) {
	sent := mongowire.Record(mongowire.Memory().Handle)
	c := connect(t, mongowire.Start(t, sent.Handle))
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprintf("%04d", i))
		_, err := c.InsertOne(testContext(t), d("_id", want[i], "data", make([]byte, 64<<10)))
		require.NoError(t, err)
	}
	byID := options.Find().SetSort(d("_id", 1))
	assert.Equal(t, want, ids(t, c, d(), byID.SetBatchSize(999)))
	require.Len(t, sent.Commands("getMore"), 3, "a batch has 16 MiB at most")
	assert.Equal(t, want[:150], ids(t, c, d(), options.Find().SetSort(d("_id", 1)).SetLimit(150)))
	require.Len(t, sent.Commands("getMore"), 4, "and 101 documents at first")
}
