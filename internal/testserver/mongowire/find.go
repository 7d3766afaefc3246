package mongowire

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// find answers with documents as they are now: the batches of a cursor do not see
// later changes, while those of a real server may.
func (s *Store) find(cmd Command) (Reply, error) {
	filter, _ := cmd.Body.Lookup("filter").DocumentOK()
	order, _ := cmd.Body.Lookup("sort").DocumentOK()
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, err := s.collections[cmd.Namespace()].find(filter, order)
	if err != nil {
		return Reply{}, err
	}
	if limit, _ := cmd.Body.Lookup("limit").AsInt64OK(); limit > 0 && limit < int64(len(found)) {
		found = found[:limit]
	}
	if projection, has := cmd.Body.Lookup("projection").DocumentOK(); has {
		if found, err = project(found, projection); err != nil {
			return Reply{}, err
		}
	}
	size := 101 // of a first batch, if the client does not say
	if n, ok := cmd.Body.Lookup("batchSize").AsInt64OK(); ok {
		size = int(n)
	}
	single, _ := cmd.Body.Lookup("singleBatch").BooleanOK()
	batch, rest := cutBatch(found, size)
	var id int64
	if len(rest) > 0 && !single {
		id = s.cursors.add(cmd.Namespace(), rest)
	}
	return cursorReply(cmd.Namespace(), "firstBatch", id, batch), nil
}

func (s *Store) count(cmd Command) (Reply, error) {
	query, _ := cmd.Body.Lookup("query").DocumentOK()
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, err := s.collections[cmd.Namespace()].find(query, nil)
	return OK(bson.E{Key: "n", Value: int32(len(found))}), err
}

// find returns the documents that match, in the given order, or in none. There may
// be no collection.
func (c *collection) find(filter, order bson.Raw) ([]bson.Raw, error) {
	if c == nil {
		return nil, nil
	}
	candidates, err := c.candidates(filter)
	if err != nil {
		return nil, err
	}
	var found []bson.Raw
	for _, doc := range candidates {
		ok, err := matches(filter, doc)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, doc)
		}
	}
	return found, sortDocuments(found, order)
}

// candidates are all documents, or the one that the filter names.
func (c *collection) candidates(filter bson.Raw) ([]bson.Raw, error) {
	id := filter.Lookup("_id")
	if id.Type == 0 || hasOperators(id) {
		return slices.Collect(maps.Values(c.docs)), nil
	}
	key, err := idKey(id)
	if err != nil {
		return nil, err
	}
	if doc := c.docs[key]; doc != nil {
		return []bson.Raw{doc}, nil
	}
	return nil, nil
}

func sortDocuments(docs []bson.Raw, order bson.Raw) (err error) {
	if len(order) == 0 || len(docs) < 2 {
		return nil
	}
	slices.SortFunc(docs, func(a, b bson.Raw) int {
		for field, direction := range elements(order) {
			d, _ := direction.AsInt64OK()
			if d != 1 && d != -1 {
				err = missing("a sort by %s", order)
			}
			result, failed := compare(a.Lookup(field), b.Lookup(field))
			err = cmp.Or(err, failed)
			if result != 0 {
				return result * int(d)
			}
		}
		return 0
	})
	return err
}

// project keeps the fields with 1 (and _id, unless it has 0), or drops those with
// 0 if there are no others.
func project(docs []bson.Raw, projection bson.Raw) ([]bson.Raw, error) {
	wanted := make(map[string]bool)
	including := false
	for field, value := range elements(projection) {
		if !value.IsNumber() && value.Type != bson.TypeBoolean {
			return nil, missing("the projection %s", projection)
		}
		wanted[field] = truthy(value)
		including = including || (wanted[field] && field != "_id")
	}
	projected := make([]bson.Raw, len(docs))
	for i, doc := range docs {
		all := fieldsOf(doc)
		kept := slices.DeleteFunc(all, func(f field) bool {
			want, said := wanted[f.name]
			if !said {
				want = !including || f.name == "_id"
			}
			return !want
		})
		projected[i] = kept.document()
	}
	return projected, nil
}

// cutBatch returns at most size documents that fit into a reply, and the rest. A
// reply holds about as much as the longest document.
func cutBatch(docs []bson.Raw, size int) (batch, rest []bson.Raw) {
	n, length := 0, 0
	for n < len(docs) && n < size {
		if length += len(docs[n]); n > 0 && length > maxDocumentLen {
			break
		}
		n++
	}
	return docs[:n], docs[n:]
}

// cursors are the finds whose answers are not complete. They have their own lock.
type cursors struct {
	mu   sync.Mutex
	last int64
	open map[int64]*cursor
}

type cursor struct {
	namespace string
	rest      []bson.Raw
}

func (c *cursors) add(namespace string, rest []bson.Raw) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.open[c.last] = &cursor{namespace, rest}
	return c.last
}

func (c *cursors) getMore(cmd Command) (Reply, error) {
	id, _ := cmd.Body.Lookup("getMore").AsInt64OK()
	size, has := cmd.Body.Lookup("batchSize").AsInt64OK()
	c.mu.Lock()
	defer c.mu.Unlock()
	cursor := c.open[id]
	if cursor == nil {
		return Reply{}, &serverError{43, "cursor id " + strconv.FormatInt(id, 10) + " not found"}
	}
	if !has || size == 0 {
		size = int64(len(cursor.rest))
	}
	var batch []bson.Raw
	if batch, cursor.rest = cutBatch(cursor.rest, int(size)); len(cursor.rest) == 0 {
		delete(c.open, id)
		id = 0
	}
	return cursorReply(cursor.namespace, "nextBatch", id, batch), nil
}

func (c *cursors) kill(cmd Command) Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids, _ := cmd.Body.Lookup("cursors").ArrayOK()
	for _, id := range elements(ids) {
		n, _ := id.AsInt64OK()
		delete(c.open, n)
	}
	return OK()
}

// cursorReply is written by hand, for it is what a benchmark waits for.
func cursorReply(namespace, batchName string, id int64, batch []bson.Raw) Reply {
	length := 100 + len(namespace)
	for _, doc := range batch {
		length += len(doc) + 8
	}
	whole, b := bsoncore.AppendDocumentStart(make([]byte, 0, length))
	cursor, b := bsoncore.AppendDocumentElementStart(b, "cursor")
	docs, b := bsoncore.AppendArrayElementStart(b, batchName)
	for i, doc := range batch {
		b = bsoncore.AppendDocumentElement(b, strconv.Itoa(i), doc)
	}
	b, _ = bsoncore.AppendArrayEnd(b, docs)
	b = bsoncore.AppendInt64Element(b, "id", id)
	b = bsoncore.AppendStringElement(b, "ns", namespace)
	b, _ = bsoncore.AppendDocumentEnd(b, cursor)
	b = bsoncore.AppendDoubleElement(b, "ok", 1)
	b, _ = bsoncore.AppendDocumentEnd(b, whole)
	return Reply{doc: b}
}
