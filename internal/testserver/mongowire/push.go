package mongowire

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// pushed is an array with a value at its end, or with those of $each. $slice then
// keeps the first, or, if it is negative, the last of them.
func pushed(target string, old, operand bson.RawValue) (bson.RawValue, error) {
	all := bson.A{}
	if old.Type != 0 {
		list, ok := old.ArrayOK()
		if !ok {
			return old, &serverError{2, "The field '" + target + "' must be an array but is of type " + old.Type.String()}
		}
		for _, member := range elements(list) {
			all = append(all, member)
		}
	}
	if !hasOperators(operand) {
		return arrayOf(append(all, operand)), nil
	}
	keep, slicing := int64(0), false
	for name, value := range elements(operand.Document()) {
		switch name {
		case "$each":
			list, ok := value.ArrayOK()
			if !ok {
				return old, &serverError{2, "The argument to $each in $push must be an array"}
			}
			for _, member := range elements(list) {
				all = append(all, member)
			}
		case "$slice":
			var ok bool
			if keep, ok = value.AsInt64OK(); !ok {
				return old, &serverError{2, "The value for $slice must be an integer value"}
			}
			slicing = true
		default:
			return old, missing("the modifier %s of $push", name)
		}
	}
	n := int64(len(all))
	switch {
	case !slicing:
	case keep >= 0:
		all = all[:min(keep, n)]
	default:
		all = all[max(0, n+keep):]
	}
	return arrayOf(all), nil
}

func arrayOf(members bson.A) bson.RawValue {
	return marshal(bson.D{{Key: "a", Value: members}}).Lookup("a")
}
