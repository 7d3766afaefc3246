package mongowire

import (
	"math"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// fields are a document that can be changed.
type fields []field

type field struct {
	name  string
	value bson.RawValue
}

func fieldsOf(doc bson.Raw) fields {
	var all fields
	for name, value := range elements(doc) {
		all = append(all, field{name, value})
	}
	return all
}

func (f fields) get(name string) bson.RawValue {
	for _, field := range f {
		if field.name == name {
			return field.value
		}
	}
	return bson.RawValue{}
}

// set replaces the value in its place, or adds the field at the end; _id goes to
// the beginning.
func (f *fields) set(name string, value bson.RawValue) {
	for i := range *f {
		if (*f)[i].name == name {
			(*f)[i].value = value
			return
		}
	}
	at := len(*f)
	if name == "_id" {
		at = 0
	}
	*f = slices.Insert(*f, at, field{name, value})
}

func (f *fields) unset(name string) {
	*f = slices.DeleteFunc(*f, func(field field) bool { return field.name == name })
}

func (f fields) document() bson.Raw {
	start, doc := bsoncore.AppendDocumentStart(nil)
	for _, field := range f {
		doc = bsoncore.AppendValueElement(doc, field.name, bsoncore.Value{Type: bsoncore.Type(field.value.Type), Data: field.value.Value})
	}
	doc, _ = bsoncore.AppendDocumentEnd(doc, start) // fails only for a bad start
	return doc
}

// clock is the server's.
type clock struct {
	now  int64                 // in Unix milliseconds
	tick func() bson.Timestamp // another each time, and never less
}

// change applies the operators of an update to a document. inserting says that the
// document is to be a new one.
func change(f *fields, update bson.Raw, clock clock, inserting bool) error {
	changed := make(map[string]bool)
	empty := true
	for name, operands := range elements(update) {
		empty = false
		if !strings.HasPrefix(name, "$") {
			return missing("replacing a document")
		}
		list, ok := operands.DocumentOK()
		if !ok {
			return &serverError{9, "Modifiers operate on fields but we found something else in " + name}
		}
		for target, operand := range elements(list) {
			if err := checkTarget(target, changed); err != nil {
				return err
			}
			if name == "$setOnInsert" && !inserting {
				continue
			}
			if err := changeField(f, name, target, operand, clock); err != nil {
				return err
			}
		}
	}
	if empty {
		return missing("replacing a document")
	}
	return nil
}

func checkTarget(target string, changed map[string]bool) error {
	switch {
	case strings.Contains(target, "."):
		return missing("the path %q in an update", target)
	case strings.HasPrefix(target, "$"):
		return &serverError{52, "The dollar ($) prefixed field '" + target + "' is not valid for storage."}
	case target == "":
		return &serverError{56, "An empty update path is not valid."}
	case changed[target]:
		return &serverError{40, "Updating the path '" + target + "' would create a conflict at '" + target + "'"}
	}
	changed[target] = true
	return nil
}

func changeField(f *fields, operator, target string, operand bson.RawValue, clock clock) error {
	old := f.get(target)
	value := operand
	switch operator {
	case "$set", "$setOnInsert":
	case "$unset":
		value = bson.RawValue{}
	case "$currentDate":
		var err error
		if value, err = currentDate(operand, clock); err != nil {
			return err
		}
	case "$push":
		var err error
		if value, err = pushed(target, old, operand); err != nil {
			return err
		}
	case "$max", "$min":
		if old.Type == 0 {
			break
		}
		order, err := compare(operand, old)
		if err != nil {
			return err
		}
		if (operator == "$max") != (order > 0) {
			value = old
		}
	case "$inc":
		var err error
		if value, err = sum(target, old, operand); err != nil {
			return err
		}
	default:
		return missing("the operator %s", operator)
	}
	if target == "_id" && old.Type != 0 {
		if same, err := equal(old, value); !same || err != nil {
			return &serverError{66, "Performing an update on the path '_id' would modify the immutable field '_id'"}
		}
		return nil
	}
	if value.Type == 0 {
		f.unset(target)
	} else {
		f.set(target, value)
	}
	return nil
}

// currentDate is a date for true and {$type: "date"}, and a timestamp for {$type:
// "timestamp"}. Timestamps are those of the logical clock of the cluster: no two are
// equal, and none is less than an earlier one, also if the clock was set back.
func currentDate(operand bson.RawValue, clock clock) (bson.RawValue, error) {
	doc, _ := operand.DocumentOK()
	name, _ := doc.Lookup("$type").StringValueOK()
	yes, _ := operand.BooleanOK()
	switch {
	case yes, name == "date":
		return bson.RawValue{Type: bson.TypeDateTime, Value: bsoncore.AppendDateTime(nil, clock.now)}, nil
	case name == "timestamp":
		t := clock.tick()
		return bson.RawValue{Type: bson.TypeTimestamp, Value: bsoncore.AppendTimestamp(nil, t.T, t.I)}, nil
	}
	return bson.RawValue{}, missing("$currentDate of another type than date and timestamp")
}

// sum adds two numbers. The result has the larger type of both; int32 grows to
// int64 where it must, int64 that overflows is an error.
func sum(target string, old, operand bson.RawValue) (bson.RawValue, error) {
	if old.Type == 0 {
		old = bson.RawValue{Type: bson.TypeInt32, Value: bsoncore.AppendInt32(nil, 0)}
		if operand.Type != bson.TypeInt32 {
			old = bson.RawValue{Type: bson.TypeInt64, Value: bsoncore.AppendInt64(nil, 0)}
		}
	}
	if rank(old.Type) != 2 || rank(operand.Type) != 2 {
		return old, &serverError{14, "Cannot apply $inc to a value of non-numeric type in '" + target + "'"}
	}
	if old.Type == bson.TypeDouble || operand.Type == bson.TypeDouble {
		total := old.AsFloat64() + operand.AsFloat64()
		return bson.RawValue{Type: bson.TypeDouble, Value: bsoncore.AppendDouble(nil, total)}, nil
	}
	a, b := old.AsInt64(), operand.AsInt64()
	if (b > 0 && a > math.MaxInt64-b) || (b < 0 && a < math.MinInt64-b) {
		return old, &serverError{2, "Failed to apply $inc operations to current value of '" + target + "': it overflows"}
	}
	total := a + b
	if old.Type == bson.TypeInt32 && operand.Type == bson.TypeInt32 && total == int64(int32(total)) {
		return bson.RawValue{Type: bson.TypeInt32, Value: bsoncore.AppendInt32(nil, int32(total))}, nil
	}
	return bson.RawValue{Type: bson.TypeInt64, Value: bsoncore.AppendInt64(nil, total)}, nil
}
