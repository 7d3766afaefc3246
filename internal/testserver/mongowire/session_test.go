package mongowire

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// What keeps a session's writes in order, which no driver sends otherwise.
func TestAnEarlierWriteOfASessionIsRefused(t *testing.T) {
	store := Memory()
	session := bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}
	update := func(number int64, by int) bson.Raw {
		return store.Handle(Command{Name: "update", DB: "test", Body: marshal(bson.D{
			{Key: "update", Value: "keys"}, {Key: "lsid", Value: session}, {Key: "txnNumber", Value: number},
			{Key: "updates", Value: bson.A{bson.D{
				{Key: "q", Value: bson.D{{Key: "_id", Value: "a"}, {Key: "rev", Value: bson.D{{Key: "$exists", Value: by > 1}}}}},
				{Key: "u", Value: bson.D{{Key: "$inc", Value: bson.D{{Key: "rev", Value: by}}}}},
				{Key: "upsert", Value: by == 1},
			}}},
		})}).doc
	}
	first := update(7, 1)
	require.EqualValues(t, 1, first.Lookup("n").Int32())
	assert.Equal(t, first, update(7, 1), "a repeat")
	assert.EqualValues(t, 225, update(6, 1).Lookup("code").Int32(), "an earlier one")
	assert.EqualValues(t, 1, update(8, 2).Lookup("nModified").Int32())
	assert.EqualValues(t, 3, store.Documents("test.keys")[0].Lookup("rev").Int32())
}

// A write that found nothing has left no trace: its repeat is done, as by a real server.
func TestARepeatOfWhatFoundNothingIsDone(t *testing.T) {
	store := Memory()
	session := bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}
	remove := Command{Name: "delete", DB: "test", Body: marshal(bson.D{
		{Key: "delete", Value: "keys"}, {Key: "lsid", Value: session}, {Key: "txnNumber", Value: int64(1)},
		{Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: "a"}}}, {Key: "limit", Value: 1}}}},
	})}
	assert.EqualValues(t, 0, store.Handle(remove).doc.Lookup("n").Int32())
	store.Handle(Command{Name: "insert", DB: "test", Body: merged(insert, []sequence{{"documents", []bson.Raw{a}}})})
	assert.EqualValues(t, 1, store.Handle(remove).doc.Lookup("n").Int32())
}
