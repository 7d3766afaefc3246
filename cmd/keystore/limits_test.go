package main

import (
	"crypto/fips140"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/testserver"
)

// TestLimitsOnEveryStore: the commands print the same, whatever the store.
func TestLimitsOnEveryStore(t *testing.T) {
	now := time.Now() // of the program, on one day for all
	want := ""
	for _, c := range []struct {
		name string
		url  func(t *testing.T) string
	}{
		{"memory", func(t *testing.T) string { return newStore(t, nil) }},
		{"badger", func(t *testing.T) string {
			return "badger://" + slashed(filepath.Join(t.TempDir(), "store")) + "?sync=0"
		}},
		{"miniredis", func(t *testing.T) string {
			if fips140.Enforced() {
				t.Skip("skipped: miniredis computes SHA-1, which FIPS-only mode forbids; the other stores are tested")
			}
			return "redis://" + miniredis.RunT(t).Addr()
		}},
		{"redis", redisNamespace},
		{"mongo", func(t *testing.T) string { return testserver.MongoCollection(t, "limits") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newTool(t, c.url(t))
			u.must(t, "generate", "--owner", "first")
			got := limitsOn(t, u, now)
			if want == "" {
				want = got
				require.Contains(t, got, "\nTOTAL             3        1         1     4\n")
				require.Contains(t, got, "exit 11\n")
			}
			require.Equal(t, want, got)
		})
	}
}

func limitsOn(t *testing.T, u *tool, now time.Time) string {
	var all strings.Builder
	do := func(args ...string) result {
		r := u.run(args...)
		fmt.Fprintf(&all, "%s\nexit %d\n%s%s\n", strings.Join(args, " "), r.code, r.out, r.errOut)
		return r
	}
	limitsBeside(t, u, do)

	id, token := u.generate(t, "--limit", "year 4/366d")
	ks, err := keystore.Open(t.Context(), u.env["KEYSTORE_URL"], &keystore.Options{Now: func() time.Time { return now }})
	require.NoError(t, err)
	_, err = ks.LookupWith(t.Context(), token, keystore.LookupParams{Cost: 2})
	require.NoError(t, err)
	_, err = ks.Lookup(t.Context(), token, "a")
	require.ErrorIs(t, err, keystore.ErrMissingScope)
	for range 2 {
		_, err = ks.Lookup(t.Context(), token)
		require.NoError(t, err)
	}
	_, err = ks.Lookup(t.Context(), token)
	require.ErrorIs(t, err, keystore.ErrRateLimited)
	require.NoError(t, ks.Close())
	u.stdin = token
	do("lookup")
	do("usage", id)
	do("delete", id)
	do("usage", id)
	do("usage", "--owner", "alice", "--json")
	do("purge")

	text := regexp.MustCompile(`(?m)^time=.*\n|^level=WARN .*\n|^\{"level":"WARN".*\n`).ReplaceAllString(all.String(), "") // of the server's settings
	for _, varies := range []string{`try again in [0-9hms]+`, `--plans \S+`, `20\d\d-\d\d-\d\d(T[0-9:.]+Z)?`, `\b0[0-9A-Za-z]{15}\b`} {
		text = regexp.MustCompile(varies).ReplaceAllString(text, "(varies)")
	}
	return text
}

// TestWholeSeconds: who comes back then must not be a moment too early.
func TestWholeSeconds(t *testing.T) {
	for d, want := range map[time.Duration]int64{1: 1, time.Second: 1, time.Second + 1: 2, 90*time.Second - 1: 90, 366 * day: 366 * 24 * 3600} {
		require.Equal(t, want, wholeSeconds(d), d)
	}
}
