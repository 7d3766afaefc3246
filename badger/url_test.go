package badger_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

func openURL(t *testing.T, rawURL string) (*badger.Backend, error) {
	t.Helper()
	b, err := backend.Open(testContext(t), rawURL, nil)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b.(*badger.Backend), nil
}

func folderURL(dir, query string) string {
	return (&url.URL{Scheme: "badger", Path: dir, RawQuery: query}).String()
}

func TestURL(t *testing.T) {
	// A folder with what a URL must encode.
	dir := filepath.Join(t.TempDir(), `100% "sure"? #1 ä`)
	for query, want := range map[string]struct{ sync, memory bool }{
		"":                {true, false},
		"sync=1":          {true, false},
		"sync=0":          {false, false},
		"create=1":        {true, false},
		"accept_damage=1": {true, false},
		"memory=0":        {true, false},
		"memory=0&sync=0": {false, false},
	} {
		b, err := openURL(t, folderURL(dir, query))
		require.NoError(t, err, query)
		o := badger.Database(b).Opts()
		assert.Equal(t, want.sync, o.SyncWrites, query)
		assert.Equal(t, want.memory, o.InMemory, query)
		assert.Equal(t, dir, o.Dir)
		require.NoError(t, b.Close())
	}
	for _, memory := range []string{"badger://?memory=1", "badger://?memory=1&sync=1", "BADGER://?memory=1"} {
		b, err := openURL(t, memory)
		require.NoError(t, err, memory)
		assert.True(t, badger.Database(b).Opts().InMemory)
	}
}

func TestInvalidURL(t *testing.T) {
	for name, rawURL := range map[string]string{
		"nothing":                 "badger://",
		"empty query":             "badger://?",
		"root":                    "badger:///",
		"host":                    "badger://s3cret/lib",
		"host and port":           "badger://s3cret:1234/lib",
		"port":                    "badger://:1234/s3cret",
		"user":                    "badger://s3cret@/lib",
		"user and password":       "badger://user:s3cret@/lib",
		"fragment":                "badger:///s3cret#s3cret",
		"empty fragment":          "badger:///s3cret#",
		"bad escape":              "badger:///s3cret%zz",
		"NUL":                     "badger:///s3cret%00",
		"control character":       "badger:///s3cret\n",
		"bad port":                "badger://s3cret:port/lib",
		"unknown parameter":       "badger:///lib?s3cret=s3cret",
		"parameter in other case": "badger:///lib?Sync=0",
		"no value":                "badger:///lib?sync",
		"bad switch":              "badger:///lib?sync=s3cret",
		"bad create":              "badger:///lib?create=s3cret",
		"no new memory":           "badger://?memory=1&create=0",
		"no damage in memory":     "badger://?memory=1&accept_damage=1",
		"bad memory":              "badger://?memory=true",
		"twice":                   "badger:///lib?sync=0&sync=0",
		"bad query escape":        "badger:///lib?sync=%zz",
		"semicolon":               "badger:///lib?sync=0;s3cret=1",
		"memory with path":        "badger:///s3cret?memory=1",
		"memory with slash":       "badger:///?memory=1",
		"memory with key":         "badger://?memory=1&encryption_key_file=/s3cret",
		"memory off, no path":     "badger://?memory=0",
		"relative key file":       "badger:///lib?encryption_key_file=s3cret",
		"key file with NUL":       "badger:///lib?encryption_key_file=/s3cret%00",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openURL(t, rawURL)
			require.ErrorIs(t, err, backend.ErrInvalidURL)
			for _, part := range []string{"s3cret", "lib", "1234", "%", "Sync", "true"} {
				if part != "%" || !strings.Contains(err.Error(), "%23") {
					assert.NotContains(t, err.Error(), part)
				}
			}
		})
	}
}

func TestURLHints(t *testing.T) {
	_, err := openURL(t, "badger://var/lib")
	assert.ErrorContains(t, err, "three slashes")
	_, err = openURL(t, "badger:///lib?color=red")
	assert.ErrorContains(t, err, "memory, sync, create, accept_damage and encryption_key_file")
}

// No error of opening shows where the folder is; what it is stays visible to
// programs.
func TestURLErrorsHoldNoPath(t *testing.T) {
	parent := filepath.Join(t.TempDir(), `s3cret "dir"`)
	require.NoError(t, os.Mkdir(parent, 0o700))
	file := filepath.Join(parent, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	taken := filepath.Join(parent, "taken")
	open(t, taken, nil)
	damaged := filepath.Join(parent, "damaged")
	require.NoError(t, os.Mkdir(damaged, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(damaged, "MANIFEST"), []byte("no manifest, but long enough"), 0o600))
	unreadable := filepath.Join(parent, "unreadable")
	require.NoError(t, os.MkdirAll(filepath.Join(unreadable, "LOCK"), 0o700))

	for name, c := range map[string]struct {
		dir   string
		check func(error)
	}{
		"file": {file, func(err error) {
			var onPath *fs.PathError
			assert.False(t, errors.As(err, &onPath), "it would hold the path")
			assert.ErrorIs(t, err, syscall.ENOTDIR)
			assert.ErrorContains(t, err, "not a directory")
		}},
		"below a file": {filepath.Join(file, "below"), func(err error) { assert.ErrorIs(t, err, syscall.ENOTDIR) }},
		"locked": {taken, func(err error) {
			var locked *badger.LockedError
			assert.ErrorAs(t, err, &locked)
		}},
		"damaged":    {damaged, func(err error) { assert.ErrorContains(t, err, "anifest") }},
		"unreadable": {unreadable, func(err error) { assert.ErrorContains(t, err, "is a directory") }},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openURL(t, folderURL(c.dir, ""))
			require.Error(t, err)
			c.check(err)
			assert.NotErrorIs(t, err, backend.ErrInvalidURL, "it may be right another time")
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), filepath.Base(t.TempDir()))
		})
	}
}

func TestEncryptionKeyFile(t *testing.T) {
	key := "0123456789abcde\n" // a key may end like a line
	for name, c := range map[string]struct {
		content string
		want    string // "": refused
	}{
		"raw":                {key, key},
		"with newline":       {key + "\n", key},
		"32 bytes":           {key + key, key + key},
		"24 with newline":    {key + "12345678\n", key + "12345678"},
		"too short":          {key[1:], ""},
		"two newlines":       {key + "\n\n", ""},
		"empty":              {"", ""},
		"newline only":       {"\n", ""},
		"longer than a read": {strings.Repeat(key, 10), ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "s3cret-key")
			require.NoError(t, os.WriteFile(file, []byte(c.content), 0o600))
			b, err := openURL(t, folderURL(filepath.Join(dir, "store"), "encryption_key_file="+url.QueryEscape(file)))
			if c.want == "" {
				require.Error(t, err)
				assert.NotContains(t, err.Error(), "s3cret")
				assert.NotContains(t, err.Error(), "0123")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []byte(c.want), badger.Database(b).Opts().EncryptionKey)
		})
	}
}

func TestMissingEncryptionKeyFile(t *testing.T) {
	_, err := openURL(t, folderURL(t.TempDir(), "encryption_key_file=/nowhere/s3cret"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.NotContains(t, err.Error(), "nowhere")
}

func TestWrongKeyByURL(t *testing.T) {
	dir := t.TempDir()
	b, err := badger.Open(dir, &badger.Options{EncryptionKey: make([]byte, 32)})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = openURL(t, folderURL(dir, ""))
	assert.ErrorIs(t, err, badgerdb.ErrEncryptionKeyMismatch)
}

func TestReadableKeyFileIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdef"), 0o600))
	for mode, warned := range map[fs.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true} {
		require.NoError(t, os.Chmod(file, mode))
		var log bytes.Buffer
		b, err := backend.Open(testContext(t), folderURL(filepath.Join(dir, "store"), "encryption_key_file="+file),
			&backend.OpenOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, b.Close())
		assert.Equal(t, warned, strings.Contains(log.String(), "encryption key file"), "%v: %s", mode, &log)
		assert.NotContains(t, log.String(), "0123456789abcdef")
	}
}

func TestURLObeysContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := filepath.Join(t.TempDir(), "store")
	_, err := backend.Open(ctx, folderURL(dir, ""), nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.NoDirExists(t, dir)
}

// Opening hangs on a key file that nobody writes. The caller goes, and what was
// opened after all is closed again.
func TestURLGivesUpOnSlowOpening(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := mkfifo(pipe); err != nil {
		t.Skip(err)
	}
	store := filepath.Join(dir, "store")
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := backend.Open(ctx, folderURL(store, "encryption_key_file="+pipe), nil)
		failed <- err
	}()
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits until the pipe is being read
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)

	_, err = w.WriteString("0123456789abcdef")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	// The late database holds the folder for a while, and then no more.
	require.Eventually(t, func() bool {
		if _, err := os.Stat(filepath.Join(store, "MANIFEST")); err != nil {
			return false // not yet opened
		}
		b, err := badger.Open(store, &badger.Options{EncryptionKey: []byte("0123456789abcdef")})
		return err == nil && b.Close() == nil
	}, waitLimit, waitTick)
}

func TestLocalPath(t *testing.T) {
	for _, c := range []struct{ path, goos, want string }{
		{"/var/lib/keys", "linux", "/var/lib/keys"},
		{"/C:/keys", "linux", "/C:/keys"},
		{"/C:/keys", "windows", filepath.FromSlash("C:/keys")},
		{"/keys", "windows", filepath.FromSlash("/keys")},
	} {
		assert.Equal(t, c.want, badger.LocalPath(c.path, c.goos))
	}
}
