package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestDefaultStore(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the paths are those of Unix")
	}
	for _, c := range []struct {
		goos string
		env  map[string]string
		want string
	}{
		{"linux", map[string]string{"HOME": "/home/a"}, "badger:///home/a/.local/share/keystore"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_DATA_HOME": "/data"}, "badger:///data/keystore"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_DATA_HOME": "data"}, "badger:///home/a/.local/share/keystore"},
		{"linux", map[string]string{"HOME": "/home/a b?c#%"}, "badger:///home/a%20b%3Fc%23%25/.local/share/keystore"},
		{"darwin", map[string]string{"HOME": "/Users/a", "XDG_DATA_HOME": "/data"}, "badger:///Users/a/Library/Application%20Support/keystore"},
		{"windows", map[string]string{"HOME": "/x", "LocalAppData": "/Users/a/AppData/Local"}, "badger:///Users/a/AppData/Local/keystore"},
	} {
		got, err := defaultStore(c.goos, func(name string) string { return c.env[name] })
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		_, err := defaultStore(goos, func(string) string { return "" })
		require.ErrorContains(t, err, "no store is named")
	}
}

func TestNeverCreate(t *testing.T) {
	for url, want := range map[string]string{
		"badger:///x":                 "badger:///x?create=0",
		"BADGER:///x":                 "BADGER:///x?create=0",
		"badger:///x?sync=0":          "badger:///x?sync=0&create=0",
		"badger:///x?":                "badger:///x?&create=0",
		"badger:///x?create=1":        "badger:///x?create=1",
		"badger:///x?create=0&sync=0": "badger:///x?create=0&sync=0",
		"badger://?memory=1":          "badger://?memory=1",
		"badger:///x#y":               "badger:///x#y",
		"badger:///%zz":               "badger:///%zz",
		"memory://":                   "memory://",
	} {
		require.Equal(t, want, neverCreate(url))
	}
}

func TestHashers(t *testing.T) {
	peppers, err := parsePepper("p:" + pepper32)
	require.NoError(t, err)
	for _, c := range []struct {
		text    string
		peppers keystore.Hasher
		scheme  string
		kid     string
	}{
		{"", nil, "sha256", ""},
		{"", peppers, "hmac-sha256", "p"},
		{"sha256", peppers, "sha256", ""},
		{"hmac-sha256", peppers, "hmac-sha256", "p"},
		{"bcrypt", nil, "bcrypt", "10"},
		{"bcrypt:5", nil, "bcrypt", "5"},
		{"argon2id", nil, "argon2id", "m65536t3p4"},
		{"argon2id:m64t1p1", peppers, "argon2id", "m64t1p1"},
	} {
		current, others, err := hashers(c.text, c.peppers)
		require.NoError(t, err, c.text)
		require.Equal(t, c.scheme, current.Scheme())
		require.Equal(t, c.kid, current.KeyID())
		known := map[string]bool{current.Scheme(): true}
		for _, h := range others {
			known[h.Scheme()] = true
		}
		require.True(t, known["sha256"] && known["bcrypt"] && known["argon2id"], "every scheme verifies")
		require.Equal(t, c.peppers != nil, known["hmac-sha256"])
	}
	for _, text := range []string{"SHA256", "sha256:1", "bcrypt:", "bcrypt:3", "bcrypt:1O", "argon2id:", "argon2id:m0t0p0", "argon2id:m64t1p1 ", "argon2id:m064t1p1", "argon2id:m4294967360t1p1"} {
		_, _, err := hashers(text, nil)
		require.Error(t, err, text)
	}
}

func TestBackupNeverReplacesAFile(t *testing.T) {
	for name, give := range map[string]func(temp, path string) error{"link": nameNew, "claim": claimName} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys.backup")
			f, err := newFile(path)
			require.NoError(t, err)
			defer f.discard()
			_, err = f.WriteString("whole")
			require.NoError(t, err)
			require.NoError(t, give(f.Name(), path))
			require.NoError(t, os.WriteFile(f.Name(), []byte("another"), 0o600))
			require.ErrorIs(t, give(f.Name(), path), os.ErrExist)
			_, err = newFile(path)
			require.ErrorContains(t, err, "it exists")
		})
	}

	path := filepath.Join(t.TempDir(), "keys.backup") // appears while the backup is written
	f, err := newFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	require.ErrorContains(t, f.finish(), "it exists")
	f.discard()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
	require.Len(t, files(t, filepath.Dir(path)), 1)
}

// endless is an input without an end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.read += len(p)
	return len(p), nil
}

func TestInputWithoutEndIsNotReadForEver(t *testing.T) {
	in := &endless{}
	var out, errOut strings.Builder
	code := run(t.Context(), []string{"lookup", "--store", "memory://"}, system{in, &out, &errOut, func(string) string { return "" }})
	require.Equal(t, int(statusUnauthenticated), code)
	require.LessOrEqual(t, in.read, maxTokenRead)

	big := filepath.Join(t.TempDir(), "big")
	require.NoError(t, os.WriteFile(big, []byte(strings.Repeat("x", maxSettingFile+1)), 0o600))
	r := newTool(t, "memory://").run("list", "--prefix-file", big)
	require.Equal(t, int(statusFailed), r.code)
	require.Contains(t, r.errOut, "longer than 64 KiB")
}

func TestInputThatNeverComesEndsWithTheContext(t *testing.T) {
	in, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	asked := &signalReader{in, cancel}
	var out, errOut strings.Builder
	code := run(ctx, []string{"lookup", "--store", "memory://"}, system{asked, &out, &errOut, func(string) string { return "" }})
	require.Equal(t, int(statusInterrupted), code, errOut.String())
}

// signalReader presses Ctrl-C when it is asked for input.
type signalReader struct {
	io.Reader
	cancel func()
}

func (s *signalReader) Read(p []byte) (int, error) {
	s.cancel()
	return s.Reader.Read(p)
}
