package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore"
	_ "example.com/keystore/badger"
	"example.com/keystore/internal/testserver"
	_ "example.com/keystore/memory"
	_ "example.com/keystore/redis"
)

// program is what the first test that needs it builds.
var program struct {
	sync.Once
	dir string
	out []byte
	err error
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if program.dir != "" {
			_ = os.RemoveAll(program.dir)
		}
		os.Exit(code)
	}))
}

// programs are the packages that are built, from the root of the module.
var programs = []string{"./cmd/keystore", "./examples/forwardauth"}

// build returns the path of the keystore program.
func build(t *testing.T) string {
	t.Helper()
	program.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "keystore-forwardauth-"); program.err == nil {
			cmd := exec.Command("go", append([]string{"build", "-o", program.dir + "/"}, programs...)...)
			cmd.Dir = filepath.Join("..", "..")
			program.out, program.err = cmd.CombinedOutput()
		}
	})
	require.NoError(t, program.err, "%s", program.out)
	return filepath.Join(program.dir, "keystore")
}

// serve starts keystore serve on a store.
func serve(t *testing.T, storeURL string, flags ...string) *testserver.Server {
	t.Helper()
	addr := testserver.FreeAddr(t)
	return testserver.StartProgram(t, testserver.Program{
		Path: build(t), Addr: addr, Env: []string{"KEYSTORE_URL=" + storeURL},
		Args: slices.Concat([]string{"serve", "--listen", addr, "--trusted-proxy", "127.0.0.1/32"}, flags),
	})
}

// key is a key of a test.
type key struct {
	token string
	keystore.Key
}

// fill makes keys in a store that nobody has open, or that many may have open. Each
// has the scopes of one string, separated by spaces.
func fill(t *testing.T, storeURL string, scopes ...string) []key {
	t.Helper()
	ks := open(t, storeURL)
	defer func() { require.NoError(t, ks.Close()) }()
	keys := make([]key, len(scopes))
	for i, list := range scopes {
		token, k, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "alice bär@example", Scopes: strings.Fields(list), AllowReserved: true})
		require.NoError(t, err)
		keys[i] = key{token.Reveal(), k}
	}
	return keys
}

func open(t *testing.T, storeURL string) *keystore.Keystore {
	t.Helper()
	ks, err := keystore.Open(t.Context(), storeURL, nil)
	require.NoError(t, err)
	return ks
}

// revoke revokes a key from outside of the server.
func revoke(t *testing.T, storeURL, id string) {
	t.Helper()
	ks := open(t, storeURL)
	defer func() { require.NoError(t, ks.Close()) }()
	_, err := ks.Revoke(t.Context(), id, "a test")
	require.NoError(t, err)
}

// badgerURL is a store in a folder of the test.
func badgerURL(t *testing.T) string {
	return "badger://" + filepath.ToSlash(t.TempDir()) + "/keys?sync=0"
}

var stores = map[string]func(t *testing.T) string{"badger": badgerURL, "redis": func(t *testing.T) string { return testserver.StartRedis(t).URL() }}

// refusal is what a request is answered with that does not reach the app.
type refusal struct {
	status    int
	challenge string // beginning of WWW-Authenticate
}

// Through each proxy, on each store: who may pass, what the app is told of them, and
// what the others are answered.
func TestKeys(t *testing.T) {
	for name, storeURL := range stores {
		t.Run(name, func(t *testing.T) {
			url := storeURL(t)
			keys := fill(t, url, "orders:read", "orders:*", "", "reports:read reports:export", "keystore:admin", "orders:*", manyScopes())
			reader, writer, none, reports, admin, gone, many := keys[0], keys[1], keys[2], keys[3], keys[4], keys[5], keys[6]
			revoke(t, url, gone.ID)
			server := serve(t, url)
			each(t, func(t *testing.T, kind string) {
				s := newSite(t, kind, server.Addr())
				for _, c := range []struct {
					method, path string
					lines        []string
					key          *key // whose it is, if it passes
					refused      refusal
				}{
					{"GET", "/orders/1", []string{bearer(reader.token)}, &reader, refusal{}},
					{"GET", "/orders/1", []string{"X-API-Key: " + reader.token}, &reader, refusal{}},
					{"GET", "/orders/1", []string{"authorization: bearer " + reader.token}, &reader, refusal{}},
					{"POST", "/orders/1", []string{bearer(reader.token)}, nil, refusal{403, `Bearer realm="keystore", error="insufficient_scope"`}},
					{"POST", "/orders/1", []string{bearer(writer.token)}, &writer, refusal{}},
					{"GET", "/reports", []string{bearer(writer.token)}, nil, refusal{403, `Bearer realm="keystore", error="insufficient_scope"`}},
					{"GET", "/reports", []string{bearer(reports.token)}, &reports, refusal{}},
					{"GET", "/reports", []string{bearer(admin.token)}, nil, refusal{403, `Bearer realm="keystore", error="insufficient_scope"`}},
					{"GET", "/else", []string{bearer(none.token)}, &none, refusal{}},
					{"GET", "/else", []string{bearer(many.token)}, &many, refusal{}},
					{"GET", "/else?scope=orders:read", []string{bearer(none.token)}, &none, refusal{}},
					{"GET", "/else", nil, nil, refusal{401, `Bearer realm="keystore"`}},
					{"GET", "/else", []string{"Authorization: Basic YTpi"}, nil, refusal{401, `Bearer realm="keystore"`}},
					{"GET", "/else", []string{bearer(wrong(none.token))}, nil, refusal{401, `Bearer realm="keystore", error="invalid_token"`}},
					{"GET", "/else", []string{bearer("x")}, nil, refusal{401, `Bearer realm="keystore", error="invalid_token"`}},
					{"GET", "/orders", []string{bearer(gone.token)}, nil, refusal{401, `Bearer realm="keystore", error="invalid_token"`}},
					{"GET", "/else", []string{bearer(none.token), "X-API-Key: " + none.token}, nil, refusal{400, ""}},
					{"GET", "/else", []string{bearer(none.token), bearer(none.token)}, nil, refusal{400, ""}},
					{"GET", "/else", []string{"X-API-Key: " + none.token, "X-API-Key: " + none.token}, nil, refusal{400, ""}},
					{"GET", "/else", []string{"Authorization: Bearer"}, nil, refusal{400, ""}},
					{"GET", "/else", []string{bearer(none.token + "," + none.token)}, nil, refusal{400, ""}},
					{"GET", "/else?api_key=" + none.token, nil, nil, refusal{401, `Bearer realm="keystore"`}},
					{"GET", "/else", []string{"X-Key-Id: " + none.ID, "X-Key-Scopes: *"}, nil, refusal{401, `Bearer realm="keystore"`}},
				} {
					reply := s.send(t, c.method, c.path, c.lines, "")
					about := []any{"%s %s %q: %s", c.method, c.path, c.lines, reply.body}
					if c.key == nil {
						require.Equal(t, c.refused.status, reply.StatusCode, about...)
						assert.True(t, strings.HasPrefix(reply.Header.Get("WWW-Authenticate"), c.refused.challenge), about...)
						assert.Empty(t, s.app.take(), about...)
						continue
					}
					require.Equal(t, http.StatusOK, reply.StatusCode, about...)
					passed := s.app.one(t)
					assert.Equal(t, []string{c.key.ID}, passed.Header["X-Key-Id"])
					assert.Equal(t, []string{"alice%20b%C3%A4r@example"}, passed.Header["X-Key-Owner"])
					assert.Equal(t, c.key.Scopes.String(), passed.Header.Get("X-Key-Scopes"))
					assert.Contains(t, reply.body, "key "+c.key.ID+" of alice bär@example\n")
				}
				for _, k := range keys {
					assert.NotContains(t, s.proxy.Log(), k.token)
					assert.NotContains(t, server.Log(), k.token)
				}
			})
		})
	}
}

// manyScopes are as many and as long as a key may have.
func manyScopes() string {
	var list []string
	for i := range 64 {
		list = append(list, fmt.Sprintf("%s:%02d", strings.Repeat("s", 125), i))
	}
	return strings.Join(list, " ")
}

// wrong is a token with another secret, that is no token any more.
func wrong(token string) string {
	last := "0"
	if strings.HasSuffix(token, "0") {
		last = "1"
	}
	return token[:len(token)-1] + last
}
