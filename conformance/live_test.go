package conformance_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/conformance"
	_ "example.com/keystore/mongo" // registers mongodb:// and mongodb+srv://
)

// TestLive tests a deployment of the reader's, such as a managed service, before
// any program relies on it:
//
//	KEYSTORE_URL=redis://user:password@host:6379/0 go test -count=1 ./conformance -run Live -v
//
// Each check has a store of its own, of fewer than 300 records: a namespace
// (Redis), collection with those beside it (MongoDB) or folder (Badger) whose name
// begins with "conformance-". It is removed when the check ends, also if that fails; only a
// test that is killed leaves one behind. A namespace or collection in the URL
// is replaced, and what the deployment holds is neither read nor changed.
//
// No verdict depends on how fast the deployment is, but a check is given up after
// a minute. Run it near the servers: at a round trip of 20 ms the suite passed in 4
// minutes on Redis, when it had no checks of counts and usage, which make two
// fifths more calls; at 50 ms one check took 59 s.
//
// It runs only if -run asks for it by name: KEYSTORE_URL may be set for the
// command-line tool, and name a store in use.
func TestLive(t *testing.T) {
	rawURL := os.Getenv("KEYSTORE_URL")
	if rawURL == "" || !strings.Contains(flag.Lookup("test.run").Value.String(), "Live") {
		t.Skip("tests a deployment, by: KEYSTORE_URL=redis://… go test -count=1 ./conformance -run Live -v")
	}
	open := live(t, rawURL)
	if err := open(t, "probe").Close(); err != nil { // one that cannot be reached need not be told of by every check
		t.Fatal(err)
	}
	conformance.Run(t, open)
}

// live returns an opener of new stores in the deployment.
func live(t *testing.T, rawURL string) conformance.Opener {
	t.Helper()
	scheme, _, _ := strings.Cut(rawURL, "://")
	run := "conformance-" + strings.ToLower(rand.Text()[:8]) + "-"
	switch scheme = strings.ToLower(scheme); {
	case scheme == "badger":
		return liveBadger(t, rawURL, run)
	case strings.HasPrefix(scheme, "redis"):
		return liveRedis(rawURL, run)
	case strings.HasPrefix(scheme, "mongodb"):
		db := database(t, rawURL)
		return liveServer(rawURL, "collection", run, func(ctx context.Context, _, name string) error {
			drop := func(suffix string) error { return db.Collection(name + suffix).Drop(ctx) }
			return errors.Join(drop(""), drop(".counts"), drop(".usage"))
		})
	case scheme == "memory":
		t.Fatal("each opening of memory:// makes a store of its own, so no URL can be tested; TestMemory tests the package")
	}
	t.Fatal("KEYSTORE_URL has the scheme of no driver in this module")
	return nil
}

// liveServer opens stores that a parameter of the URL tells apart.
func liveServer(rawURL, parameter, run string, remove func(ctx context.Context, storeURL, name string) error) conformance.Opener {
	var made sync.Map
	return func(tb testing.TB, name string) backend.Backend {
		tb.Helper()
		name = run + name
		storeURL := withParameter(rawURL, parameter, name)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		b, err := backend.Open(ctx, storeURL, nil)
		if err != nil {
			tb.Fatal(err) // which holds nothing of the URL
		}
		if _, again := made.LoadOrStore(name, true); !again {
			tb.Cleanup(func() { // when all handles are closed, for they were opened after this one
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if err := remove(ctx, storeURL, name); err != nil {
					tb.Errorf("%s %s was not removed: %v", parameter, name, err)
				}
			})
		}
		return b
	}
}

// withParameter sets a parameter of a URL, which need not be one that net/url can
// parse.
func withParameter(rawURL, name, value string) string {
	base, query, _ := strings.Cut(rawURL, "?")
	set := name + "=" + value
	for pair := range strings.SplitSeq(query, "&") {
		if key, _, _ := strings.Cut(pair, "="); pair != "" && !strings.EqualFold(key, name) {
			set += "&" + pair
		}
	}
	return base + "?" + set
}

// database is the one that the URL names, or the driver's default.
func database(t *testing.T, rawURL string) *mongo.Database {
	t.Helper()
	_, hosts, _ := strings.Cut(rawURL, "://")
	hosts, _, _ = strings.Cut(hosts, "?")
	_, name, _ := strings.Cut(hosts[strings.LastIndex(hosts, "@")+1:], "/")
	name, err := url.QueryUnescape(name)
	if err != nil {
		t.Fatal("the name of the database cannot be decoded")
	}
	client, err := mongo.Connect(options.Client().ApplyURI(rawURL)) // ours are parameters that it ignores
	if err != nil {
		t.Fatal("KEYSTORE_URL is none that the client library of MongoDB accepts")
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database(cmp.Or(name, "keystore"))
}

// liveBadger opens stores in new folders beside each other. Handles of one store
// share the database, as they must within a process.
func liveBadger(t *testing.T, rawURL, run string) conformance.Opener {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil || u.Host != "" || u.RawQuery != "" || u.Path == "" {
		t.Fatal("of Badger, a folder can be tested: badger:///path, without parameters")
	}
	dbs := make(map[string]*badgerdb.DB)
	return func(tb testing.TB, name string) backend.Backend {
		tb.Helper()
		if dbs[name] == nil {
			dir := filepath.Join(filepath.FromSlash(u.Path), run+name)
			o, err := badger.DatabaseOptions(dir, nil)
			if err != nil {
				tb.Fatal(err)
			}
			if dbs[name], err = badgerdb.Open(o); err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() {
				if err := errors.Join(dbs[name].Close(), os.RemoveAll(dir)); err != nil {
					tb.Errorf("folder %s was not removed: %v", run+name, err)
				}
			})
		}
		b, err := badger.New(dbs[name], nil)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
}
