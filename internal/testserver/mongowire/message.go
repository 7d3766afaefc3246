package mongowire

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// The wire protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/.
// A message is a header of four little-endian int32 (length of the message, its id,
// the id of what it answers, operation code) and a body.
const (
	headerLen     = 16
	maxMessageLen = 48_000_000

	opReply = 1
	opQuery = 2004 // drivers send it for their first hello only
	opMsg   = 2013

	// Flags of an OP_MSG. Those below 1<<16 must be understood by whoever gets them.
	moreToCome   = 1 << 1 // the sender waits for no reply
	requiredBits = 1<<16 - 1
)

// malformed is the error of a message that no driver should send.
type malformed string

func (m malformed) Error() string { return "a malformed message: " + string(m) }

// request is a command as it came.
type request struct {
	id     int32
	legacy bool // an OP_QUERY, to be answered with an OP_REPLY
	oneWay bool
	body   bson.Raw // valid; document sequences are array fields at its end
}

// name is the key of the first element.
func (r request) name() string {
	for key := range elements(r.body) {
		return key
	}
	return ""
}

// readRequest returns io.EOF only between two messages.
func readRequest(r io.Reader) (request, error) {
	var header [headerLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return request{}, err
	}
	length := binary.LittleEndian.Uint32(header[:])
	if length < headerLen || length > maxMessageLen {
		return request{}, malformed(fmt.Sprintf("its length is %d", length))
	}
	body := make([]byte, length-headerLen)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return request{}, err
	}
	req := request{id: int32(binary.LittleEndian.Uint32(header[4:]))}
	var err error
	switch op := binary.LittleEndian.Uint32(header[12:]); op {
	case opMsg:
		err = req.parseMsg(body)
	case opQuery:
		err = req.parseQuery(body)
	default:
		err = malformed(fmt.Sprintf("operation code %d", op))
	}
	return req, err
}

// parseMsg reads flags and sections: one document, and any number of sequences of
// documents, which stand for fields of it.
func (r *request) parseMsg(b []byte) error {
	if len(b) < 4 {
		return malformed("no flags")
	}
	flags := binary.LittleEndian.Uint32(b)
	if unknown := flags & requiredBits &^ moreToCome; unknown != 0 {
		return malformed(fmt.Sprintf("flags %#x", unknown))
	}
	r.oneWay = flags&moreToCome != 0

	var sequences []sequence
	for b = b[4:]; len(b) > 0; {
		kind := b[0]
		var err error
		switch {
		case kind == 0 && r.body == nil:
			r.body, b, err = cutDocument(b[1:])
		case kind == 1:
			var s sequence
			s, b, err = cutSequence(b[1:])
			sequences = append(sequences, s)
		default:
			err = malformed(fmt.Sprintf("a section of kind %d", kind))
		}
		if err != nil {
			return err
		}
	}
	if r.body == nil {
		return malformed("no body")
	}
	r.body = merged(r.body, sequences)
	return nil
}

type sequence struct {
	name string
	docs []bson.Raw
}

func cutSequence(b []byte) (s sequence, rest []byte, err error) {
	if len(b) < 4 {
		return s, nil, malformed("a sequence without a length")
	}
	length := binary.LittleEndian.Uint32(b)
	if length < 4 || uint64(length) > uint64(len(b)) {
		return s, nil, malformed(fmt.Sprintf("a sequence of length %d", length))
	}
	b, rest = b[4:length], b[length:]
	var ok bool
	if s.name, b, ok = bsoncore.ReadKey(b); !ok {
		return s, nil, malformed("a sequence without a name")
	}
	for len(b) > 0 {
		var doc bson.Raw
		if doc, b, err = cutDocument(b); err != nil {
			return s, nil, err
		}
		s.docs = append(s.docs, doc)
	}
	return s, rest, nil
}

// merged returns the document with the sequences as arrays at its end.
func merged(body bson.Raw, sequences []sequence) bson.Raw {
	if len(sequences) == 0 {
		return body
	}
	start, b := bsoncore.AppendDocumentStart(nil)
	b = append(b, body[4:len(body)-1]...)
	for _, s := range sequences {
		var array int32
		array, b = bsoncore.AppendArrayElementStart(b, s.name)
		for i, doc := range s.docs {
			b = bsoncore.AppendDocumentElement(b, strconv.Itoa(i), doc)
		}
		b, _ = bsoncore.AppendArrayEnd(b, array) // fails only for a bad start
	}
	b, _ = bsoncore.AppendDocumentEnd(b, start)
	return b
}

// parseQuery reads flags, the name of a collection, how many documents to skip
// and to return, and the command.
func (r *request) parseQuery(b []byte) (err error) {
	r.legacy = true
	if len(b) < 4 {
		return malformed("no flags")
	}
	_, b, ok := bsoncore.ReadKey(b[4:])
	if !ok || len(b) < 8 {
		return malformed("no name of a collection")
	}
	if r.body, b, err = cutDocument(b[8:]); err != nil {
		return err
	}
	if len(b) > 0 {
		return malformed("something behind the query")
	}
	return nil
}

// cutDocument returns a valid document from the beginning of b, and the rest.
func cutDocument(b []byte) (doc bson.Raw, rest []byte, err error) {
	core, rest, ok := bsoncore.ReadDocument(b)
	if !ok || !valid(core, 1) {
		return nil, nil, malformed("a document that is not BSON")
	}
	return bson.Raw(core), rest, nil
}

// appendReply appends the message that answers r with doc.
func appendReply(dst []byte, id int32, r request, doc bson.Raw) []byte {
	const fields = 20 // of an OP_REPLY before its document; an OP_MSG has 5 bytes
	dst = append(dst, make([]byte, headerLen, headerLen+fields+len(doc))...)
	op := uint32(opMsg)
	if r.legacy {
		op = opReply
		dst = append(dst, make([]byte, fields)...)
		dst[headerLen] = 8          // flag: the server can await data, as all can
		dst[headerLen+fields-4] = 1 // number of documents
	} else {
		dst = append(dst, 0, 0, 0, 0, 0) // no flags, a section of kind 0
	}
	dst = append(dst, doc...)
	binary.LittleEndian.PutUint32(dst, uint32(len(dst)))
	binary.LittleEndian.PutUint32(dst[4:], uint32(id))
	binary.LittleEndian.PutUint32(dst[8:], uint32(r.id))
	binary.LittleEndian.PutUint32(dst[12:], op)
	return dst
}
