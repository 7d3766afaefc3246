package mongowire

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// message frames a body.
func message(op uint32, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	m := make([]byte, headerLen, headerLen+len(body))
	binary.LittleEndian.PutUint32(m, uint32(headerLen+len(body)))
	m[4], m[12], m[13] = 7, byte(op), byte(op>>8)
	return append(m, body...)
}

var (
	noFlags = []byte{0, 0, 0, 0}
	body    = []byte{0}
	ping    = marshal(bson.D{{Key: "ping", Value: int32(1)}, {Key: "$db", Value: "admin"}})
	insert  = marshal(bson.D{{Key: "insert", Value: "keys"}, {Key: "$db", Value: "test"}})
	a, b    = marshal(bson.D{{Key: "_id", Value: "a"}}), marshal(bson.D{{Key: "_id", Value: "b"}})
)

func section(name string, docs ...[]byte) []byte {
	content := append([]byte(name+"\x00"), bytes.Join(docs, nil)...)
	s := make([]byte, 5, 5+len(content))
	s[0] = 1
	binary.LittleEndian.PutUint32(s[1:], uint32(4+len(content)))
	return append(s, content...)
}

var legacyHello = message(opQuery, noFlags, []byte("admin.$cmd\x00"), make([]byte, 8), marshal(bson.D{{Key: "isMaster", Value: int32(1)}}))

func TestReadRequest(t *testing.T) {
	r, err := readRequest(bytes.NewReader(message(opMsg, noFlags, body, ping)))
	require.NoError(t, err)
	assert.Equal(t, request{id: 7, body: ping}, r)
	assert.Equal(t, "ping", r.name())

	r, err = readRequest(bytes.NewReader(legacyHello))
	require.NoError(t, err)
	assert.True(t, r.legacy)
	assert.Equal(t, "isMaster", r.name())

	// Sequences may stand before and behind the body.
	whole := marshal(bson.D{
		{Key: "insert", Value: "keys"}, {Key: "$db", Value: "test"},
		{Key: "documents", Value: bson.A{bson.Raw(a), bson.Raw(b)}}, {Key: "more", Value: bson.A{}},
	})
	r, err = readRequest(bytes.NewReader(message(opMsg, []byte{moreToCome, 0, 1, 0}, section("documents", a, b), body, insert, section("more"))))
	require.NoError(t, err)
	assert.True(t, r.oneWay)
	assert.Equal(t, whole, r.body)
}

func TestReadRequestRefuses(t *testing.T) {
	long := message(opMsg, noFlags, body, ping)
	binary.LittleEndian.PutUint32(long, maxMessageLen+1)
	short := message(opMsg)
	short[0] = headerLen - 1
	damaged := bytes.Clone(ping)
	damaged[4] = 0x20
	badLength := section("documents", a)
	emptyString := bytes.Clone(b) // the length counts the NUL, so that it is 1 at least
	emptyString[9] = 0
	deep := bson.D{}
	for range maxDepth {
		deep = bson.D{{Key: "d", Value: deep}}
	}
	badLength[1] = 3
	for name, m := range map[string][]byte{
		"too long":                      long,
		"shorter than its header":       short,
		"another operation":             message(opReply, noFlags, body, ping),
		"compressed":                    message(2012, noFlags, body, ping),
		"no flags":                      message(opMsg, []byte{0, 0, 0}),
		"a checksum":                    message(opMsg, []byte{1, 0, 0, 0}, body, ping, noFlags),
		"no section":                    message(opMsg, noFlags),
		"two bodies":                    message(opMsg, noFlags, body, ping, body, ping),
		"a section of another kind":     message(opMsg, noFlags, []byte{2}, ping),
		"half a document":               message(opMsg, noFlags, body, ping[:10]),
		"not BSON":                      message(opMsg, noFlags, body, damaged),
		"a string of no length":         message(opMsg, noFlags, body, insert, section("documents", emptyString)),
		"a bad string in a document":    message(opMsg, noFlags, body, bytes.Replace(marshal(bson.D{{Key: "find", Value: bson.Raw(b)}}), b, emptyString, 1)),
		"deeper than a server reads":    message(opMsg, noFlags, body, marshal(deep)),
		"a sequence of no length":       message(opMsg, noFlags, body, insert, []byte{1, 9}),
		"a sequence longer than it is":  message(opMsg, noFlags, body, insert, []byte{1, 99, 0, 0, 0, 'x', 0}),
		"a sequence shorter than it is": message(opMsg, noFlags, body, insert, badLength),
		"a sequence without a name":     message(opMsg, noFlags, body, insert, []byte{1, 4, 0, 0, 0}),
		"a sequence of half documents":  message(opMsg, noFlags, body, insert, section("documents", a[:8])),
		"a query without flags":         message(opQuery, []byte{0}),
		"a query without a name":        message(opQuery, noFlags, []byte("admin")),
		"a query and more":              message(opQuery, legacyHello[headerLen:], []byte{0}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readRequest(bytes.NewReader(m))
			require.ErrorAs(t, err, new(malformed))
		})
	}
	_, err := readRequest(bytes.NewReader(nil))
	require.Equal(t, io.EOF, err)
	_, err = readRequest(bytes.NewReader(long[:20]))
	require.Error(t, err)
	whole := message(opMsg, noFlags, body, ping)
	for n := 1; n < len(whole); n++ {
		_, err := readRequest(bytes.NewReader(whole[:n]))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

// FuzzReadRequest: no message makes the server panic, and what is read holds a valid
// document, which commands can be answered by.
func FuzzReadRequest(f *testing.F) {
	f.Add(legacyHello)
	f.Add(message(opMsg, noFlags, body, ping))
	f.Add(message(opMsg, noFlags, body, insert, section("documents", a, b)))
	f.Add(message(opMsg, []byte{moreToCome, 0, 1, 0}, section("documents", a), body, insert))
	f.Add(message(opMsg, noFlags, body, insert, section("documents", marshal(bson.D{{Key: "_id", Value: "a"},
		{Key: "all", Value: bson.A{bson.Binary{Subtype: 2, Data: []byte{1}}, bson.Regex{Pattern: "p"}, bson.CodeWithScope{Code: "c", Scope: bson.D{}}, bson.Symbol("s"), bson.JavaScript("j"), bson.DBPointer{DB: "d"}}}}))))
	for _, cmd := range []bson.D{
		{{Key: "find", Value: "keys"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: "a"}}}}}, {Key: "sort", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "limit", Value: 2}, {Key: "$db", Value: "test"}},
		{{Key: "update", Value: "keys"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: "a"}}}, {Key: "u", Value: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}}}, {Key: "upsert", Value: true}}}}, {Key: "$db", Value: "test"}},
		{{Key: "delete", Value: "keys"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{}}, {Key: "limit", Value: 0}}}}, {Key: "$db", Value: "test"}},
		{{Key: "createIndexes", Value: "keys"}, {Key: "indexes", Value: bson.A{bson.D{{Key: "key", Value: bson.D{{Key: "owner", Value: 1}}}, {Key: "name", Value: "o"}}}}, {Key: "$db", Value: "test"}},
		{{Key: "findAndModify", Value: "keys"}, {Key: "query", Value: bson.D{}}, {Key: "update", Value: bson.D{{Key: "$max", Value: bson.D{{Key: "at", Value: bson.DateTime(1)}}}}}, {Key: "new", Value: true}, {Key: "$db", Value: "test"}},
	} {
		f.Add(message(opMsg, noFlags, body, marshal(cmd)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := readRequest(bytes.NewReader(data))
		if err != nil {
			return
		}
		require.NoError(t, r.body.Validate())
		store := Memory()
		store.Handle(Command{Name: "insert", DB: "test", Body: merged(insert, []sequence{{"documents", []bson.Raw{a, b}}})})
		cmd := Command{Name: r.name(), Body: r.body}
		cmd.DB, _ = r.body.Lookup("$db").StringValueOK()
		_, _, _ = cmd.Filters(), cmd.Changes(), cmd.Session()
		if reply := store.Handle(cmd); !reply.isZero() {
			require.NoError(t, reply.doc.Validate())
			sent := appendReply(nil, 1, r, reply.doc)
			require.EqualValues(t, len(sent), binary.LittleEndian.Uint32(sent))
		}
		for _, doc := range store.Documents("test.keys") {
			require.NoError(t, doc.Validate())
		}
	})
}
