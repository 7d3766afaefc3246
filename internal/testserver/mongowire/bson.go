package mongowire

import (
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// maxDocumentLen is the longest document of a MongoDB server, in bytes.
const maxDocumentLen = 16 << 20

// maxDepth is how deep documents may stand in one another, as on a MongoDB server:
// https://www.mongodb.com/docs/manual/reference/limits/.
const maxDepth = 100

// valid reports whether every value of the document, at every depth, can be read.
// Validate of the driver looks neither into the documents in it nor into strings.
func valid(doc bsoncore.Document, depth int) bool {
	if depth > maxDepth || doc.Validate() != nil {
		return false
	}
	all, err := doc.Elements()
	if err != nil {
		return false
	}
	for _, element := range all {
		if !validValue(element.Value(), depth) {
			return false
		}
	}
	return true
}

func validValue(v bsoncore.Value, depth int) (ok bool) {
	switch v.Type {
	case bsoncore.TypeString:
		_, ok = v.StringValueOK()
	case bsoncore.TypeJavaScript:
		_, ok = v.JavaScriptOK()
	case bsoncore.TypeSymbol:
		_, ok = v.SymbolOK()
	case bsoncore.TypeBinary:
		_, _, ok = v.BinaryOK()
	case bsoncore.TypeDBPointer:
		_, _, ok = v.DBPointerOK()
	case bsoncore.TypeCodeWithScope:
		var scope bsoncore.Document
		_, scope, ok = v.CodeWithScopeOK()
		ok = ok && valid(scope, depth+1)
	case bsoncore.TypeEmbeddedDocument, bsoncore.TypeArray:
		ok = valid(v.Data, depth+1)
	default:
		ok = v.Validate() == nil
	}
	return ok
}

// elements walks over a document or array, which must be valid.
func elements[Doc ~[]byte](doc Doc) iter.Seq2[string, bson.RawValue] {
	return func(yield func(string, bson.RawValue) bool) {
		if len(doc) < bsoncore.EmptyDocumentLength {
			return
		}
		rest := []byte(doc[4 : len(doc)-1])
		for len(rest) > 0 {
			element, next, ok := bsoncore.ReadElement(rest)
			if !ok {
				return
			}
			value := element.Value()
			if !yield(element.Key(), bson.RawValue{Type: bson.Type(value.Type), Value: value.Data}) {
				return
			}
			rest = next
		}
	}
}

// documents are the value itself, if it is a document.
func documents(v bson.RawValue) []bson.Raw {
	if doc, ok := v.DocumentOK(); ok {
		return []bson.Raw{doc}
	}
	return nil
}

// array returns the documents in an array field.
func array(doc bson.Raw, field string) []bson.Raw {
	values, _ := doc.Lookup(field).ArrayOK()
	var all []bson.Raw
	for _, v := range elements(values) {
		all = append(all, documents(v)...)
	}
	return all
}

// marshal encodes what this package made itself.
func marshal(v any) bson.Raw {
	doc, err := bson.Marshal(v)
	if err != nil {
		panic(err)
	}
	return doc
}
