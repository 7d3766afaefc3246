package main

import (
	"bytes"
	"crypto/fips140"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stores are one of each kind that a program can choose.
var stores = map[string]func(t *testing.T) string{
	"memory": func(*testing.T) string { return "memory://" },
	"badger": func(t *testing.T) string { return "badger://" + filepath.ToSlash(filepath.Join(t.TempDir(), "keys")) },
	"miniredis": func(t *testing.T) string {
		if fips140.Enforced() {
			t.Skip("miniredis uses SHA-1, which this mode forbids")
		}
		return "redis://" + miniredis.RunT(t).Addr() + "/0"
	},
	"redis":          func(t *testing.T) string { return testserver.StartRedis(t).URL() },
	"redis cluster":  func(t *testing.T) string { return testserver.StartCluster(t).URL() },
	"redis sentinel": func(t *testing.T) string { return testserver.StartSentinel(t).URL() },
	"mongodb":        func(t *testing.T) string { return testserver.MongoCollection(t, "choose") },
}

func TestTheSameProgramOnEveryBackend(t *testing.T) {
	owner := fmt.Sprintf("choose-%d", os.Getpid())
	ids := regexp.MustCompile(`[0-9A-Za-z]{16}`)
	want := `Generated sk_test_ID… with scopes orders:*
orders:read:  accepted, for OWNER
users:write:  refused: missing scope: users:write (missing_scope)
Rotated, generation 2
new secret:   accepted, for OWNER
old secret:   accepted, for OWNER
Revoked
new secret:   refused: invalid API key: revoked (revoked)
Keys of OWNER:
  ID robot revoked - the example ends
`
	for name, start := range stores {
		t.Run(name, func(t *testing.T) {
			url := start(t)
			for range 2 { // a second time on the same store
				var out bytes.Buffer
				require.NoError(t, run(t.Context(), &out, url))
				first, rest, _ := strings.Cut(out.String(), "\n")
				scheme, _, _ := strings.Cut(url, "://")
				require.Equal(t, "Opened a store by "+scheme+"://", first)
				require.Equal(t, strings.ReplaceAll(want, "OWNER", owner), ids.ReplaceAllString(rest, "ID"))
			}
		})
	}
}

func TestAWrongURLIsNotShown(t *testing.T) {
	for _, url := range []string{"hunter2", "memory://hunter2", "badger://hunter2/x", "redis://user:hunter2@127.0.0.1:1/0", "mongodb://user:hunter2@127.0.0.1:1/?hunter2=1"} {
		var out bytes.Buffer
		err := run(t.Context(), &out, url)
		require.Error(t, err)
		require.NotContains(t, out.String()+err.Error(), "hunter2")
	}
}
