package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

// manyKeys is more than copy has in hand at a time.
const manyKeys = 1200

// fill makes manyKeys keys in the store of the test.
func fill(t *testing.T) {
	t.Helper()
	ks := keystoreOf(t)
	for range manyKeys {
		_, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "alice"})
		require.NoError(t, err)
	}
}

// TestCopyGoesOnWhereItStopped presses Ctrl-C and has the store fail in the middle
// of a copy, and does what the tool then says.
func TestCopyGoesOnWhereItStopped(t *testing.T) {
	for _, c := range []struct {
		about string
		stop  func(cancel func()) faulty.Fault
		code  status
		says  string
	}{
		{"interrupted", func(cancel func()) faulty.Fault {
			return func(ctx context.Context, _ faulty.Do) error { cancel(); return faulty.Block(ctx, nil) }
		}, statusInterrupted, "interrupted; to go on, run the same command again with --after "},
		{"outage", func(func()) faulty.Fault { return faulty.Refuse(errors.New("down")) },
			statusUnavailable, "store unavailable: list: down; to go on, run the same command again with --after "},
	} {
		t.Run(c.about, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var fault faulty.Fault = c.stop(cancel)
			u := newTool(t, "")
			from := newStore(t, faulty.Nth(3, faulty.List, func(ctx context.Context, do faulty.Do) error { return fault(ctx, do) }))
			to := newStoreCalled(t.Name()+" to", nil)
			fill(t)
			u.ctx = ctx
			r := u.run("copy", from, to)
			require.Equal(t, int(c.code), r.code, r.errOut)
			require.Contains(t, r.out, "created:   1000\n")
			_, after, found := strings.Cut(r.errOut, c.says)
			require.True(t, found, r.errOut)
			after = strings.TrimSpace(after)
			require.Contains(t, r.out, "last:      "+after+"\n")

			fault = func(ctx context.Context, do faulty.Do) error { return do(ctx) }
			u.ctx = t.Context()
			out := u.must(t, "copy", from, to, "--after", after, "--verify", "--json")
			require.Contains(t, out, `"read":200,"created":200,`)
			require.Contains(t, out, fmt.Sprintf(`"same":%d,`, manyKeys))
		})
	}
}

func TestCopyWithoutAnythingCopiedSaysSo(t *testing.T) {
	from := newStore(t, faulty.Only(faulty.Refuse(errors.New("down")), faulty.List))
	r := newTool(t, "").run("copy", from, newStoreCalled(t.Name()+" to", nil))
	require.Equal(t, int(statusUnavailable), r.code)
	require.True(t, strings.HasSuffix(r.errOut, "; to go on, run the same command again\n"), r.errOut)
	require.Contains(t, r.out, "last:      -\n")
}

func TestCopyHasNoProgressButOnATerminal(t *testing.T) {
	from, to := newStore(t, nil), newStoreCalled(t.Name()+" to", nil)
	fill(t)
	r := newTool(t, "").run("copy", from, to, "--verify")
	require.Zero(t, r.code)
	require.Empty(t, r.errOut)
	require.NotContains(t, r.out, "\r")
}

func TestCopyEchoesNoURL(t *testing.T) {
	good := newStore(t, nil)
	missing := "badger://" + slashed(filepath.Join(t.TempDir(), "hunter2"))
	for _, url := range []string{
		"badger://user:hunter2@host/x", "badger:///%zz-hunter2", "badger:///x?hunter2=1", missing, "hunter2://x", "hunter2", "memory://hunter2",
		"shared://hunter2", "redis://user:hunter2@127.0.0.1:1/hunter2", "mongodb://user:hunter2@127.0.0.1:1/?hunter2=1",
	} {
		for _, pair := range [][2]string{{url, good}, {good, url}, {url, url}} {
			for _, flag := range []string{"--json", "--verify", "--verify-only"} {
				u := newTool(t, "")
				if pair == [2]string{good, missing} {
					continue // which would make it
				}
				r := u.run("copy", pair[0], pair[1], flag)
				require.NotZero(t, r.code, pair)
				require.NotContains(t, r.out+r.errOut, "hunter2", pair)
				u.env = map[string]string{"KEYSTORE_COPY_FROM": pair[0], "KEYSTORE_COPY_TO": pair[1]}
				r = u.run("copy", flag)
				require.NotZero(t, r.code, pair)
				require.NotContains(t, r.out+r.errOut, "hunter2", pair)
			}
		}
	}
}

func TestCopyWhoseOutcomeCannotBeWritten(t *testing.T) {
	from, to := newStore(t, nil), newStoreCalled(t.Name()+" to", nil)
	for _, flag := range []string{"--json", "--verify", "--verify-only"} {
		var errOut bytes.Buffer
		code := run(t.Context(), []string{"copy", from, to, flag}, system{nil, brokenPipe{}, &errOut, os.Getenv})
		require.Equal(t, int(statusFailed), code)
		require.Contains(t, errOut.String(), "standard output: ")
	}
}
