package mongowire

import (
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// maxDocumentLen is the longest document of a MongoDB server, in bytes.
const maxDocumentLen = 16 << 20

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
