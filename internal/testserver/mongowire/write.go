package mongowire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// result is what the statements of one command did.
type result struct {
	n, modified int32
	upserted    bson.A
	errors      bson.A
}

// add notes the failure of a statement. It returns an error that is no answer
// but the end of the command.
func (r *result) add(index int, err error) error {
	var refused *serverError
	if !errors.As(err, &refused) {
		return err
	}
	r.errors = append(r.errors, bson.D{
		{Key: "index", Value: int32(index)},
		{Key: "code", Value: refused.code},
		{Key: "errmsg", Value: refused.message},
	})
	return nil
}

func (r *result) reply(update bool) (Reply, bool, error) {
	doc := bson.D{{Key: "n", Value: r.n}}
	if update {
		doc = append(doc, bson.E{Key: "nModified", Value: r.modified})
	}
	if r.upserted != nil {
		doc = append(doc, bson.E{Key: "upserted", Value: r.upserted})
	}
	if r.errors != nil {
		doc = append(doc, bson.E{Key: "writeErrors", Value: r.errors})
	}
	changed := r.n > 0 && (!update || r.modified > 0 || r.upserted != nil)
	return OK(doc...), changed, nil
}

// each runs the statements until one fails, or all if the command says that they
// are not ordered.
func (s *Store) each(cmd Command, list string, run func(c *collection, index int, statement bson.Raw, r *result) error) (*result, error) {
	ordered, said := cmd.Body.Lookup("ordered").BooleanOK()
	c := s.collection(cmd.Namespace())
	r := new(result)
	for i, statement := range array(cmd.Body, list) {
		if err := run(c, i, statement, r); err != nil {
			if err := r.add(i, err); err != nil {
				return nil, err
			}
			if ordered || !said {
				break
			}
		}
	}
	return r, nil
}

func (s *Store) insert(cmd Command) (Reply, bool, error) {
	r, err := s.each(cmd, "documents", func(c *collection, _ int, doc bson.Raw, r *result) error {
		if _, err := c.insert(cmd.Namespace(), fieldsOf(doc)); err != nil {
			return err
		}
		r.n++
		return nil
	})
	if err != nil {
		return Reply{}, false, err
	}
	return r.reply(false)
}

func (s *Store) update(cmd Command) (Reply, bool, error) {
	r, err := s.each(cmd, "updates", func(c *collection, index int, statement bson.Raw, r *result) error {
		if err := checkStatement(statement, "q", "u", "multi", "upsert"); err != nil {
			return err
		}
		query, okQuery := statement.Lookup("q").DocumentOK()
		update, okUpdate := statement.Lookup("u").DocumentOK()
		if !okQuery || !okUpdate {
			return missing("an update that is not by documents")
		}
		found, err := c.find(query, nil)
		if err != nil {
			return err
		}
		if multi, _ := statement.Lookup("multi").BooleanOK(); !multi && len(found) > 1 {
			found = found[:1]
		}
		for _, old := range found {
			changed, err := s.replace(c, old, update)
			if err != nil {
				return err
			}
			r.n++
			if !bytes.Equal(old, changed) {
				r.modified++
			}
		}
		if upsert, _ := statement.Lookup("upsert").BooleanOK(); upsert && len(found) == 0 {
			doc, err := s.upsert(c, cmd.Namespace(), query, update)
			if err != nil {
				return err
			}
			r.n++
			r.upserted = append(r.upserted, bson.D{{Key: "index", Value: int32(index)}, {Key: "_id", Value: doc.Lookup("_id")}})
		}
		return nil
	})
	if err != nil {
		return Reply{}, false, err
	}
	return r.reply(true)
}

func (s *Store) delete(cmd Command) (Reply, bool, error) {
	r, err := s.each(cmd, "deletes", func(c *collection, _ int, statement bson.Raw, r *result) error {
		if err := checkStatement(statement, "q", "limit"); err != nil {
			return err
		}
		query, ok := statement.Lookup("q").DocumentOK()
		if !ok {
			return missing("a delete that is not by a document")
		}
		found, err := c.find(query, nil)
		if err != nil {
			return err
		}
		if limit, _ := statement.Lookup("limit").AsInt64OK(); limit == 1 && len(found) > 1 {
			found = found[:1]
		}
		for _, doc := range found {
			c.remove(doc)
			r.n++
		}
		return nil
	})
	if err != nil {
		return Reply{}, false, err
	}
	return r.reply(false)
}

func checkStatement(statement bson.Raw, known ...string) error {
	for name := range elements(statement) {
		if !slices.Contains(known, name) {
			return missing("the field %q of a statement", name)
		}
	}
	return nil
}

func (s *Store) findAndModify(cmd Command) (Reply, bool, error) {
	query, _ := cmd.Body.Lookup("query").DocumentOK()
	order, _ := cmd.Body.Lookup("sort").DocumentOK()
	c := s.collection(cmd.Namespace())
	found, err := c.find(query, order)
	if err != nil {
		return Reply{}, false, err
	}
	var old, changed bson.Raw
	last := bson.D{{Key: "n", Value: int32(min(len(found), 1))}}
	if len(found) > 0 {
		old = found[0]
	}
	if remove, _ := cmd.Body.Lookup("remove").BooleanOK(); remove {
		if old != nil {
			c.remove(old)
		}
	} else {
		update, ok := cmd.Body.Lookup("update").DocumentOK()
		if !ok {
			return Reply{}, false, missing("an update that is not by a document")
		}
		last = append(last, bson.E{Key: "updatedExisting", Value: old != nil})
		if upsert, _ := cmd.Body.Lookup("upsert").BooleanOK(); old != nil {
			changed, err = s.replace(c, old, update)
		} else if upsert {
			changed, err = s.upsert(c, cmd.Namespace(), query, update)
			last[0].Value = int32(1)
			last = append(last, bson.E{Key: "upserted", Value: changed.Lookup("_id")})
		}
		if err != nil {
			return Reply{}, false, err
		}
	}
	value := old
	if after, _ := cmd.Body.Lookup("new").BooleanOK(); after {
		value = changed
	}
	shown, err := shownValue(value, cmd.Body.Lookup("fields"))
	if err != nil {
		return Reply{}, false, err
	}
	reply := OK(bson.E{Key: "lastErrorObject", Value: last}, bson.E{Key: "value", Value: shown})
	return reply, !bytes.Equal(old, changed), nil
}

func shownValue(doc bson.Raw, projection bson.RawValue) (any, error) {
	if doc == nil {
		return nil, nil
	}
	if p, has := projection.DocumentOK(); has {
		projected, err := project([]bson.Raw{doc}, p)
		if err != nil {
			return nil, err
		}
		doc = projected[0]
	}
	return doc, nil
}

// replace changes a document that is in the collection, and returns the new one.
func (s *Store) replace(c *collection, old, update bson.Raw) (bson.Raw, error) {
	id := old.Lookup("_id")
	changed := fieldsOf(old)
	if err := change(&changed, update, s.clockOf(id), false); err != nil {
		return nil, err
	}
	doc := changed.document()
	if err := checkLength(doc); err != nil {
		return nil, err
	}
	key, err := idKey(id)
	if err != nil {
		return nil, err
	}
	c.docs[key] = doc
	return doc, nil
}

// upsert inserts what the query and the update make together. That fails if there
// is a document of this _id, which differs from the query in something else.
func (s *Store) upsert(c *collection, namespace string, query, update bson.Raw) (bson.Raw, error) {
	doc := equalities(query)
	if err := change(&doc, update, s.clockOf(doc.get("_id")), true); err != nil {
		return nil, err
	}
	return c.insert(namespace, doc)
}

// clockOf is the clock of a document's shard.
func (s *Store) clockOf(id bson.RawValue) clock {
	text, _ := id.StringValueOK()
	now := s.clock(text)
	return clock{now.UnixMilli(), func() bson.Timestamp {
		if seconds := uint32(now.Unix()); seconds > s.ticked.T {
			s.ticked = bson.Timestamp{T: seconds}
		}
		s.ticked.I++
		return s.ticked
	}}
}

func (c *collection) insert(namespace string, f fields) (bson.Raw, error) {
	id := f.get("_id")
	if id.Type == 0 {
		id = marshal(bson.D{{Key: "_id", Value: bson.NewObjectID()}}).Lookup("_id")
	}
	f.unset("_id")
	f.set("_id", id) // to the beginning
	key, err := idKey(id)
	if err != nil {
		return nil, err
	}
	if c.docs[key] != nil {
		return nil, &serverError{11000, fmt.Sprintf("E11000 duplicate key error collection: %s index: _id_ dup key: { _id: %s }", namespace, id)}
	}
	doc := f.document()
	if err := checkLength(doc); err != nil {
		return nil, err
	}
	c.docs[key] = doc
	return doc, nil
}

func (c *collection) remove(doc bson.Raw) {
	if key, err := idKey(doc.Lookup("_id")); err == nil {
		delete(c.docs, key)
	}
}

func checkLength(doc bson.Raw) error {
	if len(doc) > maxDocumentLen {
		return &serverError{10334, fmt.Sprintf("BSONObj size: %d is invalid. Size must be between 0 and %d", len(doc), maxDocumentLen)}
	}
	return nil
}
