package history

import (
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/memory"
)

// server keeps stores, as a database server or a folder does.
type server interface {
	// handle returns a new handle on the store of a name, which is empty at
	// first. It is the caller's to close.
	handle(t require.TestingT, name string) backend.Backend
	// restart stops the server and starts it again, with what it has stored.
	// All handles are closed before.
	restart(t require.TestingT)
	// breaking lets the line to the server break, if it is one that does, or not
	// any more.
	breaking(on bool)
}

// servers are the backends that the tests of this package run on: one line each.
// How many histories and sequences the short form has depends on how fast it is.
var servers = []struct {
	name      string
	start     func(t *testing.T) server // for histories, which never restart it
	histories int
	durable   func(t *testing.T) server // for sequences; nil: none
	sequences int
}{
	{"memory", startMemory, 100, startMemory, 1200},
	{"badger", startBadgerInMemory, 60, startBadger, 40},
	{"miniredis", startMiniredis, 30, startMiniredis, 10},
	{"redis", startRedisServer, 60, startDurableRedis, 40},
	{"redis behind faults", startRedisBehindFaults, 30, nil, 0},
	{"mongo wire", startMongoWire, 30, startMongoWire, 20},
	{"mongo wire behind faults", startMongoBehindFaults, 6, nil, 0},
	{"ferretdb", startMongoServer, 6, startDurableFerretDB, 3},
	{"ferretdb behind faults", startFerretDBBehindFaults, 4, nil, 0},
}

// longFactor is how many times as much the long form does.
const longFactor = 25

func times(n int) int {
	if long() {
		return n * longFactor
	}
	return n
}

// memoryServer holds the stores themselves, so that a restart finds them.
type memoryServer map[string]*memory.Store

func startMemory(*testing.T) server { return make(memoryServer) }

func (m memoryServer) handle(_ require.TestingT, name string) backend.Backend {
	if m[name] == nil {
		m[name] = new(memory.Store)
	}
	return m[name].Open()
}

func (m memoryServer) restart(require.TestingT) {}

func (m memoryServer) breaking(bool) {}

// badgerServer is one database, with a namespace for each store.
type badgerServer struct {
	dir     string
	options *badger.Options
	db      *badgerdb.DB
}

func startBadgerInMemory(t *testing.T) server {
	return newBadgerServer(t, "", &badger.Options{InMemory: true})
}

func startBadger(t *testing.T) server { return newBadgerServer(t, t.TempDir(), nil) }

func newBadgerServer(t *testing.T, dir string, o *badger.Options) server {
	b := &badgerServer{dir: dir, options: o}
	b.open(t)
	t.Cleanup(func() { require.NoError(t, b.db.Close()) })
	return b
}

func (b *badgerServer) open(t require.TestingT) {
	options, err := badger.DatabaseOptions(b.dir, b.options)
	require.NoError(t, err)
	b.db, err = badgerdb.Open(options)
	require.NoError(t, err)
}

func (b *badgerServer) handle(t require.TestingT, name string) backend.Backend {
	h, err := badger.New(b.db, &badger.Options{Namespace: name + "/"})
	require.NoError(t, err)
	return h
}

func (b *badgerServer) breaking(bool) {}

func (b *badgerServer) restart(t require.TestingT) {
	require.NoError(t, b.db.Close())
	b.open(t)
}
