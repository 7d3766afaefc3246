package mongowire

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// notImplemented is the error of something that a real server has and this one
// does not. It fails the test.
type notImplemented string

func (n notImplemented) Error() string { return string(n) }

func missing(format string, args ...any) error { return notImplemented(fmt.Sprintf(format, args...)) }

// rank is the place of a value's type in the order of BSON types. Values of one
// rank are compared with each other; ranges never reach over ranks. 0: the type is
// not implemented. See
// https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/.
func rank(t bson.Type) int {
	switch t {
	case 0, bson.TypeNull: // 0: there is no such field
		return 1
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		return 2
	case bson.TypeString:
		return 3
	case bson.TypeEmbeddedDocument:
		return 4
	case bson.TypeArray:
		return 5
	case bson.TypeBinary:
		return 6
	case bson.TypeObjectID:
		return 7
	case bson.TypeBoolean:
		return 8
	case bson.TypeDateTime:
		return 9
	case bson.TypeTimestamp:
		return 10
	}
	return 0
}

// compare returns -1, 0 or 1, like the server's order of any two values.
func compare(a, b bson.RawValue) (int, error) {
	rankA, rankB := rank(a.Type), rank(b.Type)
	if rankA == 0 || rankB == 0 {
		return 0, missing("values of types %v and %v", a.Type, b.Type)
	}
	if rankA != rankB {
		return cmp.Compare(rankA, rankB), nil
	}
	switch rankA {
	case 1:
		return 0, nil
	case 2:
		return compareNumbers(a, b), nil
	case 3:
		return cmp.Compare(a.StringValue(), b.StringValue()), nil
	case 6:
		return compareBinary(a, b), nil
	case 8:
		return slices.Compare(a.Value, b.Value), nil
	case 9:
		return cmp.Compare(a.DateTime(), b.DateTime()), nil
	case 7:
		return bytes.Compare(a.Value, b.Value), nil
	case 10:
		return compareTimestamps(a, b), nil
	}
	if bytes.Equal(a.Value, b.Value) && a.Type == b.Type {
		return 0, nil
	}
	return 0, missing("the order of values of type %v", a.Type)
}

// compareNumbers is exact also where an int64 has more digits than a double.
func compareNumbers(a, b bson.RawValue) int {
	if a.Type != bson.TypeDouble && b.Type != bson.TypeDouble {
		return cmp.Compare(a.AsInt64(), b.AsInt64())
	}
	if a.Type == bson.TypeDouble && b.Type == bson.TypeDouble {
		return cmp.Compare(a.Double(), b.Double()) // NaN first, as the server has it
	}
	if a.Type == bson.TypeDouble {
		return -compareNumbers(b, a)
	}
	n, f := a.AsInt64(), b.Double()
	switch {
	case f >= math.MaxInt64: // 2^63 as a double
		return -1
	case f < math.MinInt64 || math.IsNaN(f):
		return 1
	case n != int64(f):
		return cmp.Compare(n, int64(f))
	}
	return cmp.Compare(0, f-math.Trunc(f))
}

// compareBinary compares lengths, then subtypes, then bytes.
func compareBinary(a, b bson.RawValue) int {
	subtypeA, bytesA := a.Binary()
	subtypeB, bytesB := b.Binary()
	return cmp.Or(cmp.Compare(len(bytesA), len(bytesB)), cmp.Compare(subtypeA, subtypeB), bytes.Compare(bytesA, bytesB))
}

func compareTimestamps(a, b bson.RawValue) int {
	secondsA, ordinalA := a.Timestamp()
	secondsB, ordinalB := b.Timestamp()
	return cmp.Or(cmp.Compare(secondsA, secondsB), cmp.Compare(ordinalA, ordinalB))
}

// equal says that a filter of this value matches the other. Unlike in order, two
// documents are equal only in every byte.
func equal(a, b bson.RawValue) (bool, error) {
	if rank(a.Type) != rank(b.Type) {
		_, err := compare(a, b)
		return false, err
	}
	if a.Type == bson.TypeEmbeddedDocument || a.Type == bson.TypeArray {
		return bytes.Equal(a.Value, b.Value), nil
	}
	order, err := compare(a, b)
	return order == 0, err
}
