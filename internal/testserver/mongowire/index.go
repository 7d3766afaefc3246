package mongowire

import (
	"bytes"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// index is remembered, listed and compared, and nothing else: there is no TTL, and
// searches read all documents.
type index struct {
	name string
	key  bson.Raw
	spec bson.Raw // as it was given
}

var idIndex = newIndex(marshal(bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: bson.D{{Key: "_id", Value: int32(1)}}}, {Key: "name", Value: "_id_"}}))

func newIndex(spec bson.Raw) index {
	key, _ := spec.Lookup("key").DocumentOK()
	name, _ := spec.Lookup("name").StringValueOK()
	return index{name, key, spec}
}

// options are the fields by which two indexes on the same key differ.
func (i index) options() bson.Raw {
	options := slices.DeleteFunc(fieldsOf(i.spec), func(f field) bool {
		return f.name == "key" || f.name == "name" || f.name == "v" || f.name == "background"
	})
	slices.SortFunc(options, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return options.document()
}

// createIndexes accepts an index that exists with the same name, key and options,
// and refuses others as a server does.
func (s *Store) createIndexes(cmd Command) (Reply, bool, error) {
	c := s.collection(cmd.Namespace())
	before := len(c.indexes)
	for _, spec := range array(cmd.Body, "indexes") {
		if err := checkStatement(spec, "v", "key", "name", "sparse", "background", "expireAfterSeconds", "hidden"); err != nil {
			return Reply{}, false, err
		}
		wanted := newIndex(spec)
		exists, err := c.hasIndex(wanted)
		if err != nil {
			c.indexes = c.indexes[:before]
			return Reply{}, false, err
		}
		if !exists {
			c.indexes = append(c.indexes, wanted)
		}
	}
	reply := bson.D{{Key: "numIndexesBefore", Value: int32(before)}, {Key: "numIndexesAfter", Value: int32(len(c.indexes))}}
	if before == len(c.indexes) {
		reply = append(reply, bson.E{Key: "note", Value: "all indexes already exist"})
	}
	return OK(reply...), true, nil
}

// hasIndex looks by name first, as servers do. Since MongoDB 5.0, some options, such
// as sparse, let indexes on the same key stand side by side; here none does.
func (c *collection) hasIndex(wanted index) (bool, error) {
	byName := func(i index) bool { return i.name == wanted.name }
	byKey := func(i index) bool { return sameKeys(i.key, wanted.key) }
	same := func(i index) bool { return bytes.Equal(i.options(), wanted.options()) }

	if at := slices.IndexFunc(c.indexes, byName); at >= 0 {
		existing := c.indexes[at]
		switch {
		case !byKey(existing):
			return false, &serverError{86, "An existing index has the same name as the requested index. " + both(wanted, existing)}
		case !same(existing):
			return false, &serverError{85, "An equivalent index already exists with the same name but different options. " + both(wanted, existing)}
		}
		return true, nil
	}
	if at := slices.IndexFunc(c.indexes, byKey); at >= 0 {
		existing := c.indexes[at]
		if same(existing) {
			return false, &serverError{85, "Index already exists with a different name: " + existing.name}
		}
		return false, &serverError{85, "An equivalent index already exists with a different name and options. " + both(wanted, existing)}
	}
	return false, nil
}

func both(wanted, existing index) string {
	return "Requested index: " + wanted.spec.String() + ", existing index: " + existing.spec.String()
}

// sameKeys compares fields and directions, whatever type the numbers have.
func sameKeys(a, b bson.Raw) bool {
	return slices.EqualFunc(fieldsOf(a), fieldsOf(b), func(a, b field) bool {
		same, err := equal(a.value, b.value)
		return a.name == b.name && same && err == nil
	})
}

func (s *Store) listIndexes(cmd Command) (Reply, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.collections[cmd.Namespace()]
	if c == nil {
		return Reply{}, &serverError{26, "ns does not exist: " + cmd.Namespace()}
	}
	var specs []bson.Raw
	for _, i := range c.indexes {
		specs = append(specs, i.spec)
	}
	return cursorReply(cmd.Namespace(), "firstBatch", 0, specs), nil
}

// dropIndexes drops by name; "*" stands for all but that of _id.
func (s *Store) dropIndexes(cmd Command) (Reply, bool, error) {
	name, ok := cmd.Body.Lookup("index").StringValueOK()
	if !ok {
		return Reply{}, false, missing("dropping an index by its key")
	}
	c := s.collection(cmd.Namespace())
	before := len(c.indexes)
	c.indexes = slices.DeleteFunc(slices.Clone(c.indexes), func(i index) bool {
		return i.name != "_id_" && (name == "*" || i.name == name)
	})
	if name != "*" && before == len(c.indexes) {
		return Reply{}, false, &serverError{27, "index not found with name [" + name + "]"}
	}
	return OK(bson.E{Key: "nIndexesWas", Value: int32(before)}), true, nil
}
