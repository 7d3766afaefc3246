package limits

import (
	"context"
	"crypto/fips140"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/socket"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/memory"
)

// workers is how many share a store.
const workers = 3

// store is what they share.
type store struct {
	open opener // in the process of the test
	url  string // for processes; "": there are none
	near int    // how many workers stand in the process of the test
	few  bool   // so that the short form only does windows with it: it is slow, or like another one
}

// stores are the backends that everything is shown on.
var stores = []struct {
	name  string
	start func(t *testing.T) store
}{
	{"memory", startMemory},
	{"badger", startBadger},
	{"badger by socket", startBadgerBySocket},
	{"miniredis", startMiniredis},
	{"redis", startRedis},
	{"redis cluster", startCluster},
	{"redis sentinel", startSentinel},
	{"mongo wire", startWire},
	{"ferretdb", startFerretDB},
}

// byURL is a server. A client that took a slow one for one that fails would ask again,
// and of a repeat a test knows less: what is left then is told as of later.
func byURL(url string) store {
	if strings.HasPrefix(url, "mongodb") {
		url = testserver.WithParameter(url, "timeoutMS", fmt.Sprint(patience.Milliseconds()))
	} else {
		for _, wait := range []string{"read_timeout", "write_timeout", "pool_timeout"} {
			url = testserver.WithParameter(url, wait, patience.String())
		}
	}
	return store{url: url, open: func(ctx context.Context) (backend.Backend, error) { return backend.Open(ctx, url, nil) }}
}

func startMemory(*testing.T) store {
	all := new(memory.Store)
	return store{near: workers, open: func(context.Context) (backend.Backend, error) { return all.Open(), nil }}
}

// startBadger opens a folder, of which each worker has a handle.
func startBadger(t *testing.T) store {
	return store{near: workers, open: openFolder(t, t.TempDir())}
}

// startBadgerBySocket opens a folder and serves it to other processes.
func startBadgerBySocket(t *testing.T) store {
	folder := shortFolder(t)
	open := openFolder(t, filepath.Join(folder, "store"))
	served, err := open(t.Context())
	require.NoError(t, err)
	l, err := socket.Listen(socketIn(folder))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- socket.Serve(ctx, l, socket.Handler(served, nil), nil) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		require.NoError(t, served.Close())
	})
	return store{near: 1, open: open, url: socket.URL(socketIn(folder))}
}

// shortFolder is a folder for a socket, whose path may not be long.
func shortFolder(t *testing.T) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("skipped: a server listens on Unix only")
	}
	folder, err := os.MkdirTemp("", "ks")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return folder
}

// openFolder opens a database; what it returns gives handles on it. They have
// nothing in common but the database, as those of independent parts of a program.
func openFolder(t *testing.T, folder string) opener {
	t.Helper()
	options, err := badger.DatabaseOptions(folder, &badger.Options{NoSync: true})
	require.NoError(t, err)
	db, err := badgerdb.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return func(context.Context) (backend.Backend, error) { return badger.New(db, nil) }
}

func startMiniredis(t *testing.T) store {
	if fips140.Enforced() {
		t.Skip("skipped: miniredis computes SHA-1, which FIPS-only mode forbids; the other servers are tested")
	}
	s := byURL("redis://" + miniredis.RunT(t).Addr() + "/0")
	s.few = true
	return s
}

func startRedis(t *testing.T) store   { return byURL(testserver.StartRedis(t).URL()) }
func startCluster(t *testing.T) store { return byURL(testserver.StartCluster(t).URL()) }

func startSentinel(t *testing.T) store {
	s := byURL(testserver.StartSentinel(t).URL())
	s.few = true
	return s
}

// startWire speaks the protocol of MongoDB inside the test.
func startWire(t *testing.T) store {
	return byURL(mongowire.Start(t, mongowire.Memory().Handle, mongowire.Primary).URL())
}

// startFerretDB is the user's server, or FerretDB.
func startFerretDB(t *testing.T) store {
	s := byURL(testserver.MongoCollection(t, "limits"))
	s.few = true
	return s
}
