package mongo_test

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
)

// The parts of a URL are found as the client library finds them, and its own part
// comes to it as it was written.
func TestOpenByURL(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"":                                 "keystore.keys",
		"?":                                "keystore.keys",
		"name":                             "name.keys",
		"na-me_1?collection=some.keys":     "na-me_1.some.keys",
		"%6eame?%63ollection=%6Beys2&":     "name.keys2",
		"?COLLECTION=k&;w=majority":        "keystore.k",
		"name?linearizable=0;collection=k": "name.k",
		"?retryWrites=false&readPreference=primary&journal=true&readConcernLevel=majority": "keystore.keys",
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			w := startWire(t, mongowire.Primary)
			url := w.URL() + query
			if query != "" && query[0] == '?' {
				url = strings.Replace(url, "/?", "?", 1) // without the slash, which not everybody writes
			}
			b := openURL(t, url)
			require.NoError(t, b.Create(testContext(t), backend.Record{ID: "a", Owner: "alice"}))
			assert.Len(t, w.store.Documents(want), 1)
		})
	}
	w := startWire(t, mongowire.Primary)
	_ = openURL(t, "MongoDB://"+w.Addr()+","+w.Addr()+"/x?replicaSet=rs0&linearizable=1")
	levels := make(map[string]bool)
	for _, cmd := range w.sent.Commands("find") {
		levels[cmd.ReadConcern()] = true
	}
	assert.Equal(t, map[string]bool{"linearizable": true}, levels, "it was tried")
}

func TestInvalidURL(t *testing.T) {
	for name, rawURL := range map[string]string{
		"nothing":                    "mongodb://",
		"no host":                    "mongodb:///s3cret",
		"no host behind a user":      "mongodb://s3cret:s3cret@/db",
		"blank":                      "mongodb://s3cret /db",
		"newline":                    "mongodb://s3cret/db\n",
		"bad UTF-8":                  "mongodb://s3cret/\xff",
		"fragment":                   "mongodb://s3cret/db#s3cret",
		"unescaped at":               "mongodb://user:s3cr@et@host/db",
		"unescaped colon":            "mongodb://user:s3c:ret@host/db",
		"unescaped slash":            "mongodb://user:s3c/ret@host/db",
		"bad escape in the password": "mongodb://user:s3cret%zz@host/db",
		"no user":                    "mongodb://:s3cret@host/db",
		"bad port":                   "mongodb://s3cret:port/db",
		"port too large":             "mongodb://s3cret:70000/db",
		"bad database":               "mongodb://s3cret/s3$cret",
		"database with a slash":      "mongodb://s3cret/s3cret/s3cret",
		"database with a dot":        "mongodb://s3cret/s3.cret",
		"database too long":          "mongodb://s3cret/" + strings.Repeat("s3cret", 11),
		"database of the server":     "mongodb://s3cret/Admin",
		"bad escape in the database": "mongodb://s3cret/s3cret%zz",
		"bad collection":             "mongodb://s3cret/?collection=s3%24cret",
		"no collection":              "mongodb://s3cret/?collection=",
		"system collection":          "mongodb://s3cret/?collection=system.s3cret",
		"hidden collection":          "mongodb://s3cret/?collection=.s3cret",
		"collection twice":           "mongodb://s3cret/?collection=s3cret&Collection=s3cret",
		"linearizable of sorts":      "mongodb://s3cret/?linearizable=s3cret",
		"unknown parameter":          "mongodb://s3cret/?s3cret=1",
		"parameter without value":    "mongodb://s3cret/?s3cret",
		"parameter not to be read":   "mongodb://s3cret/?s3cret%zz=1",
		"value not to be read":       "mongodb://s3cret/?appName=s3cret%zz",
		"twice":                      "mongodb://s3cret/?tls=true&TLS=true",
		"weak writes":                "mongodb://s3cret/?w=1",
		"no writes":                  "mongodb://s3cret/?w=0",
		"weak for others":            "mongodb://s3cret/?w=s3cret",
		"no journal":                 "mongodb://s3cret/?journal=false",
		"a limit to writes":          "mongodb://s3cret/?wtimeoutMS=1",
		"weak reads":                 "mongodb://s3cret/?readConcernLevel=local",
		"reads from anywhere":        "mongodb://s3cret/?readPreference=nearest",
		"reads from some":            "mongodb://s3cret/?readPreferenceTags=dc:s3cret",
		"old reads":                  "mongodb://s3cret/?maxStalenessSeconds=120",
		"bad number":                 "mongodb://s3cret/?maxPoolSize=s3cret",
		"bad switch":                 "mongodb://s3cret/?tls=s3cret",
		"bad mechanism":              "mongodb://u:p@s3cret/?authMechanism=s3cret",
		"bad combination":            "mongodb://s3cret,s3cret/?directConnection=true",
		"more than the pool":         "mongodb://s3cret/?minPoolSize=5&maxPoolSize=3",
		"port for a name":            "mongodb+srv://s3cret.example.com:1234/",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := backend.Open(testContext(t), rawURL, nil)
			require.ErrorIs(t, err, backend.ErrInvalidURL)
			for _, part := range []string{"s3c", "cret", "70000", "dc:", "zz"} {
				assert.NotContains(t, err.Error(), part)
			}
			assert.True(t, asNothing(err), "%#v", err)
		})
	}
}

// asNothing reports whether no error of others can be had of err: it would hold
// what the text does not.
func asNothing(err error) bool {
	var path *fs.PathError
	var op *net.OpError
	var dns *net.DNSError
	return !errors.As(err, &path) && !errors.As(err, &op) && !errors.As(err, &dns)
}

// What can be opened another time is no fault of the URL, and shows no part of it
// either.
func TestUnavailableURL(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	w.faults.Each(mongowire.Named("saslStart"), mongowire.Answer(mongowire.Error(18, "Authentication failed for s3cret.")))
	p := testserver.StartProxy(t, w.Addr())
	p.Refuse(true)
	silent := testserver.StartProxy(t, w.Addr())
	silent.BlackHole(true)
	limited := startWire(t)
	limited.faults.Each(mongowire.Named("listCollections"), mongowire.Answer(mongowire.Error(4711, "s3cret")))
	nobody := startWire(t, mongowire.SteppedDown)
	alone := startWire(t)
	alone.faults.Each(mongowire.Named("find"), mongowire.Answer(mongowire.Error(123, "not a replica set")))
	file := filepath.Join(t.TempDir(), "s3cret.pem")
	require.NoError(t, os.WriteFile(file, []byte("nothing"), 0o600))
	for name, c := range map[string]struct{ url, want string }{
		"refused":                   {"mongodb://" + p.Addr() + "/s3cret", "no server can be used"},
		"silent":                    {"mongodb://" + silent.Addr() + "/s3cret", "no server can be used"},
		"no such name":              {"mongodb://s3cret.invalid/s3cret", "no server can be used"},
		"no such service":           {"mongodb+srv://s3cret.s3cret.invalid/s3cret", "cannot be resolved"},
		"wrong password":            {strings.Replace(w.URL(), "://", "://u:s3cret@", 1) + "s3cret?authMechanism=SCRAM-SHA-256&authSource=admin", "does not accept the user or the password"},
		"no primary":                {nobody.URL() + "s3cret", "none is the primary"},
		"no file":                   {alone.URL() + "s3cret?tlsCAFile=/s3cret.pem", "no such file"},
		"refusal":                   {limited.URL() + "s3cret", "code 4711"},
		"alone and linearizable":    {alone.URL() + "s3cret?linearizable=1", "leave out linearizable"},
		"something else in a find":  {alone.URL() + "s3cret", "code 123"},
		"no certificate in a file":  {alone.URL() + "s3cret?tlsCAFile=" + file, "tlscafile"},
		"a secondary, and directly": {startDirect(t).URL() + "s3cret?directConnection=true", "directConnection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			_, err := backend.Open(ctx, c.url, nil)
			require.ErrorContains(t, err, c.want)
			assert.Less(t, time.Since(start), waitLimit)
			for _, part := range []string{"s3cret", "127.0.0.1", p.Addr()[len("127.0.0.1:"):], "invalid/"} {
				assert.NotContains(t, err.Error(), part)
			}
			assert.True(t, asNothing(err), "%#v", err)
		})
	}
}

// startDirect is a member of a set of several.
func startDirect(t *testing.T) *wire {
	t.Helper()
	w := startWire(t, mongowire.Primary)
	w.faults.Each(mongowire.Named("hello"), mongowire.Answer(mongowire.OK(
		d("isWritablePrimary", true, "setName", "rs0", "hosts", []string{"a:1", "b:1"}, "maxWireVersion", int32(25), "minWireVersion", int32(0))...)))
	return w
}

// Only a member of a set of several is refused.
func TestDirectConnection(t *testing.T) {
	t.Parallel()
	for _, role := range []mongowire.Role{mongowire.Standalone, mongowire.Primary, mongowire.Mongos} {
		_ = openURL(t, startWire(t, role).URL()+"?directConnection=true")
	}
	_, err := backend.Open(testContext(t), startWire(t, mongowire.SteppedDown).URL()+"?directConnection=true", nil)
	require.Error(t, err)
}

func TestOpeningObeysItsContext(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := backend.Open(ctx, w.URL(), nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = backend.Open(ctx, "mongodb+srv://a.b.invalid/", nil)
	require.ErrorIs(t, err, context.Canceled)

	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	for _, command := range []string{"hello", "listCollections", "listIndexes", "createIndexes", "find"} {
		w := startWire(t)
		w.faults.Each(mongowire.Named(command), mongowire.HangBefore(released))
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := backend.Open(ctx, w.URL(), nil)
			failed <- err
		}()
		require.Eventually(t, func() bool { return len(w.sent.Commands(command)) > 0 }, waitLimit, waitTick)
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled, command)
	}
}

// The TLS of the program goes before that of the URL.
func TestOpenWithTLS(t *testing.T) {
	t.Parallel()
	https := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate, and for an answer of another kind
	t.Cleanup(https.Close)
	trusting := https.Client().Transport.(*http.Transport).TLSClientConfig
	w := startWire(t)
	addr := startTLS(t, w.Addr(), https.TLS.Certificates)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)

	for name, c := range map[string]struct {
		addr, query string
		tls         *tls.Config
		want        string // "": it opens
	}{
		"trusted by the program":             {addr, "", trusting, ""},
		"trusted by the program, as asked":   {addr, "?tls=true", trusting, ""},
		"trusted by the program, not needed": {addr, "?tls=false", trusting, ""},
		"trusted by nobody":                  {addr, "?tls=true", nil, "unknown authority"},
		"trusted blindly":                    {addr, "?tls=true&tlsInsecure=true", nil, ""},
		"of another host":                    {strings.Replace(addr, "127.0.0.1", "localhost", 1), "", trusting, "for another host"},
		"no TLS there":                       {plain.Listener.Addr().String(), "?tls=true", nil, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := 3 * time.Second // for a server that will not do
			if c.want == "" {
				patience = waitLimit
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			rawURL := "mongodb://" + c.addr + "/" + c.query
			if fips140.Enforced() && c.tls != nil {
				// The client library identifies certificates by SHA-1 when it asks
				// whether they were revoked.
				rawURL = testserver.WithParameter(rawURL, "tlsDisableCertificateRevocationCheck", "true")
			}
			b, err := backend.Open(ctx, rawURL, &backend.OpenOptions{TLS: c.tls})
			if c.want == "" {
				require.NoError(t, err)
				require.NoError(t, b.Close())
				return
			}
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), c.addr)
		})
	}
}

// startTLS starts a proxy that speaks TLS, and returns its address.
func startTLS(t *testing.T, target string, certificates []tls.Certificate) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: certificates})
	require.NoError(t, err)
	var lines sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); lines.Wait() })
	lines.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			lines.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
				_, _ = io.Copy(client, server)
			})
		}
	})
	return listener.Addr().String()
}
