package mongowire

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
)

func value(v any) bson.RawValue { return marshal(bson.D{{Key: "v", Value: v}}).Lookup("v") }

// The order of values of all types, from
// https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/.
func TestCompare(t *testing.T) {
	ascending := []any{
		nil,
		math.NaN(), math.Inf(-1), int64(math.MinInt64), -1.5, int32(-1), 0.0, int32(1), 1.5, int64(2),
		int64(1<<53 + 1), int64(1<<53 + 2), int64(math.MaxInt64), float64(1 << 63), math.Inf(1),
		"", "A", "a", "aa", "b", "é", "😀",
		bson.D{{Key: "a", Value: 1}},
		bson.A{1},
		[]byte{}, []byte{2}, []byte{1, 1}, bson.Binary{Subtype: 4, Data: []byte{1, 1}}, []byte{0, 0, 0},
		bson.ObjectID{1}, bson.ObjectID{2},
		false, true,
		bson.DateTime(-1), bson.DateTime(0), bson.DateTime(1),
		bson.Timestamp{T: 1, I: 9}, bson.Timestamp{T: 2, I: 1}, bson.Timestamp{T: 2, I: 2},
	}
	for i, a := range ascending {
		for j, b := range ascending {
			order, err := compare(value(a), value(b))
			require.NoError(t, err)
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			assert.Equal(t, want, order, "%v and %v", a, b)
		}
	}
	for _, same := range [][2]any{{int32(1), 1.0}, {int64(1), int32(1)}, {float64(1 << 62), int64(1 << 62)}} {
		order, err := compare(value(same[0]), value(same[1]))
		require.NoError(t, err)
		assert.Zero(t, order, "%v", same)
	}
	order, err := compare(bson.RawValue{}, value(nil))
	require.NoError(t, err)
	assert.Zero(t, order, "what is missing is null")
}

func TestCompareRefuses(t *testing.T) {
	for _, pair := range [][2]any{
		{bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "a", Value: 2}}},
		{bson.A{1}, bson.A{2}},
		{bson.Regex{Pattern: "a"}, "a"},
		{1, bson.MinKey{}},
	} {
		_, err := compare(value(pair[0]), value(pair[1]))
		require.ErrorAs(t, err, new(notImplemented), "%v", pair)
	}
}
