package socket

import (
	"time"

	"github.com/fxamacker/cbor/v2"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// protocol is the version of the paths below /v1/ and of what is sent there.
const protocol = 1

const (
	maxRequest = 256 << 10 // bytes; a record has 64 KiB of data, and Touch sends chunkOfTouch ids
	maxReply   = 128 << 20 // bytes; a page of 1000 records of 64 KiB has half of it

	chunkOfTouch     = 1000 // ids
	chunkOfAdditions = 100  // of 2.5 KB at most
)

// hello is what a server says of itself. Later versions may add fields.
type hello struct {
	Protocol int    `cbor:"1,keyasint"`
	Server   string `cbor:"2,keyasint"` // random, another one for each server
	Watch    bool   `cbor:"3,keyasint"` // the store is a backend.Watcher
	Backup   bool   `cbor:"4,keyasint"` // the store has a backup of its own
	Counter  bool   `cbor:"5,keyasint"` // the store is a backend.Counter
	Meter    bool   `cbor:"6,keyasint"` // the store is a backend.Meter
}

// reply is the answer to a call: a failure, or what the method returns.
type reply[T any] struct {
	_       struct{} `cbor:",toarray"`
	Failure *failure
	Value   T
}

// none is the value of a call that returns an error only.
type none = bool

// record is a backend.Record.
type record struct {
	_                 struct{} `cbor:",toarray"`
	ID, Owner         string
	Data              []byte
	PurgeAt, LastUsed envelope.Time
	Revision          uint64
}

// purge are the arguments of Purge, and of those for counts and usage.
type purge struct {
	_     struct{} `cbor:",toarray"`
	Now   envelope.Time
	Limit int
}

// list are the arguments of List.
type list struct {
	_            struct{} `cbor:",toarray"`
	Owner, After string
	Limit        int
}

// chunk is a part of a backup. The last one says so, and how the backup failed if it
// did.
type chunk struct {
	_       struct{} `cbor:",toarray"`
	Data    []byte
	Last    bool
	Failure *failure
}

func recordOf(r backend.Record) (record, error) {
	purgeAt, err := envelope.TimeOf(r.PurgeAt)
	if err != nil {
		return record{}, err
	}
	lastUsed, err := envelope.TimeOf(r.LastUsed)
	return record{ID: r.ID, Owner: r.Owner, Data: r.Data, PurgeAt: purgeAt, LastUsed: lastUsed, Revision: r.Revision}, err
}

func (r record) backend() backend.Record {
	return backend.Record{ID: r.ID, Owner: r.Owner, Data: r.Data, PurgeAt: r.PurgeAt.Time(), LastUsed: r.LastUsed.Time(), Revision: r.Revision}
}

func timesOf(used map[string]time.Time) (map[string]envelope.Time, error) {
	times := make(map[string]envelope.Time, len(used))
	for id, at := range used {
		t, err := envelope.TimeOf(at)
		if err != nil {
			return nil, err
		}
		times[id] = t
	}
	return times, nil
}

// The modes of CBOR. Texts pass as they are: what an id or an owner may hold is for
// the store to say, as it is without a socket.
var (
	encoding = must(cbor.EncOptions{}.EncMode())
	strict   = must(decodeOptions(cbor.ExtraDecErrorUnknownField).DecMode())
	lenient  = must(decodeOptions(cbor.ExtraDecErrorNone).DecMode())
)

func decodeOptions(extra cbor.ExtraDecErrorCond) cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 4, UTF8: cbor.UTF8DecodeInvalid, ExtraReturnErrors: extra,
	}
}

func must[T any](mode T, err error) T {
	if err != nil {
		panic(err) // the options above contradict each other
	}
	return mode
}
