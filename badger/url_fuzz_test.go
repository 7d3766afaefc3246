package badger

import (
	"errors"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// url writes the location as a URL again.
func (at location) url() string {
	query := make(url.Values)
	for name, set := range map[string]bool{"sync": at.noSync, "create": at.noCreate} {
		if set {
			query.Set(name, "0")
		}
	}
	if at.damaged {
		query.Set("accept_damage", "1")
	}
	if at.keyFile != "" {
		query.Set("encryption_key_file", filepath.ToSlash(at.keyFile))
	}
	if at.memory {
		query.Set("memory", "1")
		return "badger://?" + query.Encode()
	}
	path := filepath.ToSlash(at.dir)
	if !strings.HasPrefix(path, "/") { // C:/keys
		path = "/" + path
	}
	// Not String of a url.URL, which takes //keys for a host.
	return "badger://" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

// FuzzParseURL: what is accepted names one place, in memory or on disk, and means
// the same when it is written anew; what is refused shows in no error.
func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"/var/lib/keys", "/a%20b/%23?sync=0", "/a?sync=1&create=0&encryption_key_file=/run/key", "?memory=1", "?memory=1&create=0",
		"host/x", "user:pass@/x", "//x", "/", "", "/x#y", "/x?sync=2", "/x?sync=0&sync=0", "/x?color=red", "/%00", "/x?a;b", "/%zz", "/C:/keys", "/x?encryption_key_file=key",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		at, err := parseURL("badger://" + rest)
		if err != nil {
			require.Zero(t, at)
			// Long enough not to stand in an error by chance.
			const secret = "hunter2hunter2"
			_, err := parseURL("badger://" + rest + secret)
			if err != nil {
				require.NotContains(t, err.Error(), secret)
			}
			return
		}
		require.NotEqual(t, at.memory, at.dir != "", "memory or a folder, not both and not neither")
		require.False(t, at.memory && (at.keyFile != "" || at.noCreate || at.damaged))
		require.NotContains(t, at.dir+at.keyFile, "\x00")
		if runtime.GOOS != "windows" && at.dir != "" {
			require.True(t, filepath.IsAbs(at.dir), "%q", at.dir)
		}
		again, err := parseURL(at.url())
		require.NoError(t, err, "%q", at.url())
		require.Equal(t, at, again)
	})
}

// An error that wraps a part of the URL in any form would show here.
func TestParseURLErrorsWrapNothing(t *testing.T) {
	for _, rawURL := range []string{"badger://%zz", "badger:///x?%zz", "badger:///x?sync=s3cret"} {
		_, err := parseURL(rawURL)
		require.Error(t, err)
		require.NoError(t, errors.Unwrap(err))
	}
}
