package mongowire

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// matches says whether a document has what the filter asks of its top-level
// fields. Values of filters are data, unless they are documents whose keys begin
// with '$'.
func matches(filter, doc bson.Raw) (bool, error) {
	for field, condition := range elements(filter) {
		if field == "$nor" {
			if found, err := matchesAny(condition, doc); found || err != nil {
				return false, err
			}
			continue
		}
		if strings.HasPrefix(field, "$") || strings.Contains(field, ".") {
			return false, missing("the condition %q", field)
		}
		value := doc.Lookup(field)
		ok, err := holds(condition, value)
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// matchesAny says whether a document matches one of the filters in an array.
func matchesAny(filters bson.RawValue, doc bson.Raw) (bool, error) {
	list, ok := filters.ArrayOK()
	if !ok {
		return false, &serverError{2, "$nor must be an array"}
	}
	for _, member := range elements(list) {
		filter, ok := member.DocumentOK()
		if !ok {
			return false, &serverError{2, "$or/$and/$nor entries need to be full objects"}
		}
		if ok, err := matches(filter, doc); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// holds says whether the value of a field meets one condition of a filter.
func holds(condition, value bson.RawValue) (bool, error) {
	if !hasOperators(condition) {
		return equalOrHas(condition, value)
	}
	for name, operand := range elements(condition.Document()) {
		ok, err := operator(name, operand, value)
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// hasOperators says that a condition is more than a value to be equal to.
func hasOperators(condition bson.RawValue) bool {
	doc, ok := condition.DocumentOK()
	if !ok {
		return false
	}
	for key := range elements(doc) {
		return strings.HasPrefix(key, "$")
	}
	return false
}

func operator(name string, operand, value bson.RawValue) (bool, error) {
	switch name {
	case "$eq":
		return equalOrHas(operand, value)
	case "$ne":
		same, err := equalOrHas(operand, value)
		return !same, err
	case "$exists":
		return (value.Type != 0) == truthy(operand), nil
	case "$in":
		list, ok := operand.ArrayOK()
		if !ok {
			return false, &serverError{2, "$in needs an array"}
		}
		for _, member := range elements(list) {
			if same, err := equalOrHas(member, value); same || err != nil {
				return same, err
			}
		}
		return false, nil
	case "$gt", "$gte", "$lt", "$lte":
		return inRange(name, operand, value)
	}
	return false, missing("the operator %s", name)
}

// equalOrHas says that a value is the operand or an array that has it as a member.
func equalOrHas(operand, value bson.RawValue) (bool, error) {
	list, ok := value.ArrayOK()
	if !ok || operand.Type == bson.TypeArray {
		return equal(operand, value)
	}
	for _, member := range elements(list) {
		if same, err := equal(operand, member); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

// inRange compares only values of the same kind: null is in no range but those
// that include null itself.
func inRange(name string, operand, value bson.RawValue) (bool, error) {
	if operand.Type == bson.TypeArray {
		return false, missing("a range of arrays")
	}
	if list, ok := value.ArrayOK(); ok { // one of its members is enough
		for _, member := range elements(list) {
			if ok, err := inRange(name, operand, member); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	order, err := compare(value, operand)
	if err != nil || rank(value.Type) != rank(operand.Type) {
		return false, err
	}
	switch name {
	case "$gt":
		return order > 0, nil
	case "$gte":
		return order >= 0, nil
	case "$lt":
		return order < 0, nil
	}
	return order <= 0, nil
}

// truthy is how the server reads an operand that should be a boolean.
func truthy(v bson.RawValue) bool {
	if b, ok := v.BooleanOK(); ok {
		return b
	}
	n, ok := v.AsFloat64OK()
	return !ok || n != 0
}

// equalities are the fields that a document must have with these very values to
// match the filter.
func equalities(filter bson.Raw) fields {
	var all fields
	for field, condition := range elements(filter) {
		if strings.HasPrefix(field, "$") {
			continue
		}
		if !hasOperators(condition) {
			all.set(field, condition)
			continue
		}
		if value := condition.Document().Lookup("$eq"); value.Type != 0 {
			all.set(field, value)
		}
	}
	return all
}
