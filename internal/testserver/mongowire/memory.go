package mongowire

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Store is a [Handler] that keeps documents in memory. Each command is atomic as a
// whole, also where a real server only promises that for each document. Ids are
// unique; so are no other fields: there are indexes in name only.
//
// It has the commands that a driver for records and counts by _id needs, with
// conditions and changes of top-level fields. Everything else is [NotImplemented].
//
// As on a real server, the repeat of a write that changed something, by session
// and txnNumber, changes nothing and gets the answer of the first.
type Store struct {
	mu          sync.RWMutex
	collections map[string]*collection // by namespace
	clock       func(id string) time.Time
	ticked      bson.Timestamp // the last that was given out
	sessions    map[string]lastWrite
	cursors     cursors
}

type collection struct {
	docs    map[string]bson.Raw // by idKey
	indexes []index
}

// lastWrite is the last write of a session that came with a number.
type lastWrite struct {
	number int64
	reply  Reply // zero: it changed nothing
}

// serverError is the failure of a command or of one statement in it.
type serverError struct {
	code    int32
	message string
}

func (e *serverError) Error() string { return fmt.Sprintf("%s (%d)", e.message, e.code) }

// Memory is an empty store.
func Memory() *Store {
	return &Store{
		collections: make(map[string]*collection),
		clock:       func(string) time.Time { return time.Now() },
		sessions:    make(map[string]lastWrite),
		cursors:     cursors{open: make(map[int64]*cursor)},
	}
}

// SetClock sets the clock that $currentDate takes the time from. It gets the _id of
// the document, if that is a string: the shards of a cluster have clocks of their
// own.
func (s *Store) SetClock(clock func(id string) time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = clock
}

// Documents returns the documents of a collection, "database.collection", in the
// order of their ids.
func (s *Store) Documents(namespace string) []bson.Raw {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.collections[namespace]
	if c == nil {
		return nil
	}
	var all []bson.Raw
	for _, id := range slices.Sorted(maps.Keys(c.docs)) {
		all = append(all, bytes.Clone(c.docs[id]))
	}
	return all
}

// Handle is the [Handler].
func (s *Store) Handle(cmd Command) Reply {
	if err := checkFields(cmd); err != nil {
		return failure(err)
	}
	switch cmd.Name {
	case "find":
		return answer(s.find(cmd))
	case "getMore":
		return answer(s.cursors.getMore(cmd))
	case "killCursors":
		return s.cursors.kill(cmd)
	case "count":
		return answer(s.count(cmd))
	case "insert":
		return s.write(cmd, s.insert)
	case "update":
		return s.write(cmd, s.update)
	case "delete":
		return s.write(cmd, s.delete)
	case "findAndModify":
		return s.write(cmd, s.findAndModify)
	case "createIndexes":
		return s.write(cmd, s.createIndexes)
	case "dropIndexes":
		return s.write(cmd, s.dropIndexes)
	case "listIndexes":
		return answer(s.listIndexes(cmd))
	case "listCollections":
		return answer(s.listCollections(cmd))
	case "drop":
		return s.write(cmd, s.drop)
	case "dropDatabase":
		return s.write(cmd, s.dropDatabase)
	}
	return Reply{}
}

func answer(reply Reply, err error) Reply {
	if err != nil {
		return failure(err)
	}
	return reply
}

func failure(err error) Reply {
	var refused *serverError
	if errors.As(err, &refused) {
		return Error(refused.code, refused.message)
	}
	return NotImplemented("%v", err)
}

// ownFields are the fields of each command, beside those in commonFields.
var ownFields = map[string][]string{
	"find":            {"filter", "sort", "limit", "batchSize", "singleBatch", "projection"},
	"getMore":         {"collection", "batchSize"},
	"killCursors":     {"cursors"},
	"count":           {"query"},
	"insert":          {"documents", "ordered"},
	"update":          {"updates", "ordered"},
	"delete":          {"deletes", "ordered"},
	"findAndModify":   {"query", "update", "remove", "new", "upsert", "sort", "fields"},
	"createIndexes":   {"indexes"},
	"dropIndexes":     {"index"},
	"listIndexes":     {"cursor"},
	"listCollections": {"filter", "nameOnly", "cursor"},
	"drop":            {},
	"dropDatabase":    {},
}

var commonFields = []string{"$db", "lsid", "txnNumber", "$clusterTime", "$readPreference", "readConcern", "writeConcern", "maxTimeMS", "comment"}

// checkFields refuses what would otherwise be ignored.
func checkFields(cmd Command) error {
	own, known := ownFields[cmd.Name]
	if !known {
		return nil // the zero Reply says so
	}
	for name := range elements(cmd.Body) {
		if name != cmd.Name && !slices.Contains(own, name) && !slices.Contains(commonFields, name) {
			return missing("the field %q of %s", name, cmd.Name)
		}
	}
	return nil
}

// write runs one writing command at a time, and a repeat of the last one of its
// session not at all. do says whether anything changed.
func (s *Store) write(cmd Command, do func(Command) (reply Reply, changed bool, err error)) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	number, numbered := cmd.TxnNumber()
	session := cmd.Session()
	if numbered {
		switch last, seen := s.sessions[session]; {
		case seen && number < last.number:
			return Error(225, fmt.Sprintf("Retryable write with txnNumber %d is prohibited: the session has come to %d", number, last.number))
		case seen && number == last.number && !last.reply.isZero():
			return last.reply
		}
	}
	reply, changed, err := do(cmd)
	if err != nil {
		reply = failure(err)
	}
	if numbered {
		done := lastWrite{number: number}
		if changed {
			done.reply = reply
		}
		s.sessions[session] = done
	}
	return reply
}

// collection makes the collection if need be, which only writes may do.
func (s *Store) collection(namespace string) *collection {
	c := s.collections[namespace]
	if c == nil {
		c = &collection{docs: make(map[string]bson.Raw), indexes: []index{idIndex}}
		s.collections[namespace] = c
	}
	return c
}

func (s *Store) drop(cmd Command) (Reply, bool, error) {
	if s.collections[cmd.Namespace()] == nil {
		return Reply{}, false, &serverError{26, "ns not found"}
	}
	delete(s.collections, cmd.Namespace())
	return OK(bson.E{Key: "ns", Value: cmd.Namespace()}), true, nil
}

func (s *Store) dropDatabase(cmd Command) (Reply, bool, error) {
	maps.DeleteFunc(s.collections, func(namespace string, _ *collection) bool {
		return strings.HasPrefix(namespace, cmd.DB+".")
	})
	return OK(bson.E{Key: "dropped", Value: cmd.DB}), true, nil
}

func (s *Store) listCollections(cmd Command) (Reply, error) {
	filter, _ := cmd.Body.Lookup("filter").DocumentOK()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []bson.Raw
	for _, namespace := range slices.Sorted(maps.Keys(s.collections)) {
		name, inside := strings.CutPrefix(namespace, cmd.DB+".")
		if !inside {
			continue
		}
		entry := marshal(bson.D{{Key: "name", Value: name}, {Key: "type", Value: "collection"}, {Key: "options", Value: bson.D{}}})
		ok, err := matches(filter, entry)
		if err != nil {
			return Reply{}, err
		}
		if ok {
			found = append(found, entry)
		}
	}
	return cursorReply(cmd.DB+".$cmd.listCollections", "firstBatch", 0, found), nil
}

// idKey is a string that is the same for equal ids, and in the order of ids of one
// type.
func idKey(id bson.RawValue) (string, error) {
	switch id.Type {
	case bson.TypeString:
		return "s" + id.StringValue(), nil
	case bson.TypeObjectID, bson.TypeBinary:
		return string(rune('a'+rank(id.Type))) + string(id.Value), nil
	case bson.TypeInt32, bson.TypeInt64:
		return fmt.Sprintf("i%020d", uint64(id.AsInt64())^1<<63), nil
	}
	return "", missing("an _id of type %v", id.Type)
}
