package mongowire

import (
	"encoding/hex"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Command is what a client sent.
type Command struct {
	Name string // such as "find"
	DB   string
	Body bson.Raw        // all of the command, valid BSON; sequences of documents are arrays in it
	Done <-chan struct{} // closed when the server ends
}

// Collection is the name that the command's first field holds, "" if it is none.
func (c Command) Collection() string {
	name, _ := c.Body.Lookup(c.Name).StringValueOK()
	return name
}

// Namespace is database and collection, "test.keys".
func (c Command) Namespace() string { return c.DB + "." + c.Collection() }

// Writes says that the command is one that changes documents.
func (c Command) Writes() bool {
	switch c.Name {
	case "insert", "update", "delete", "findAndModify", "createIndexes", "dropIndexes", "create", "drop", "dropDatabase":
		return true
	}
	return false
}

// Reads says that the command is one that returns data.
func (c Command) Reads() bool {
	switch c.Name {
	case "find", "getMore", "count", "distinct", "aggregate", "listIndexes", "listCollections":
		return true
	}
	return false
}

// Filters are the conditions under which the command works on documents: one of
// find and findAndModify, and one of each statement of update and delete.
func (c Command) Filters() []bson.Raw {
	switch c.Name {
	case "find":
		return documents(c.Body.Lookup("filter"))
	case "findAndModify", "count":
		return documents(c.Body.Lookup("query"))
	case "update":
		return c.statements("updates", "q")
	case "delete":
		return c.statements("deletes", "q")
	}
	return nil
}

// Changes are what update and findAndModify do to documents, one of each statement.
func (c Command) Changes() []bson.Raw {
	switch c.Name {
	case "findAndModify":
		return documents(c.Body.Lookup("update"))
	case "update":
		return c.statements("updates", "u")
	}
	return nil
}

func (c Command) statements(list, field string) []bson.Raw {
	var all []bson.Raw
	for _, s := range array(c.Body, list) {
		all = append(all, documents(s.Lookup(field))...)
	}
	return all
}

// ReadConcern is the level that the command asks for, "" if it asks for none.
func (c Command) ReadConcern() string {
	level, _ := c.Body.Lookup("readConcern", "level").StringValueOK()
	return level
}

// WriteConcern is how many members must hold the change, "majority" or a number,
// "" if the command does not say.
func (c Command) WriteConcern() string {
	w := c.Body.Lookup("writeConcern", "w")
	if text, ok := w.StringValueOK(); ok {
		return text
	}
	if n, ok := w.AsInt64OK(); ok {
		return strconv.FormatInt(n, 10)
	}
	return ""
}

// Journaled says that the change must be in the journal.
func (c Command) Journaled() bool {
	j, _ := c.Body.Lookup("writeConcern", "j").BooleanOK()
	return j
}

// TxnNumber is the number by which the server knows a repeat of a write in the same
// session.
func (c Command) TxnNumber() (n int64, has bool) {
	return c.Body.Lookup("txnNumber").Int64OK()
}

// Session is the id of the session, in hexadecimal digits, "" if there is none.
func (c Command) Session() string {
	_, id, _ := c.Body.Lookup("lsid", "id").BinaryOK()
	return hex.EncodeToString(id)
}
