package socket_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

func TestURL(t *testing.T) {
	dir := filepath.Join(filepath.Dir(socketPath(t)), "a b?c#%é")
	require.NoError(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "s")
	l, err := socket.Listen(path)
	require.NoError(t, err)
	serveOn(t, l, socket.Handler(memory.New(), nil))
	b, err := backend.Open(t.Context(), socket.URL(path), nil)
	require.NoError(t, err)
	require.NoError(t, b.Close())

	for _, url := range []string{
		"unix://", "unix:///", "unix://hunter2/x", "unix://u:hunter2@/x", "unix:///hunter2?x=1", "unix:///hunter2#", "unix:///hunter2?", "unix:///%zzhunter2", "unix:///hunter2%00",
	} {
		_, err := backend.Open(t.Context(), url, nil)
		require.ErrorIs(t, err, backend.ErrInvalidURL, url)
		require.NotContains(t, err.Error(), "hunter2", url)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = backend.Open(ended, socket.URL(path), nil)
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzURL(f *testing.F) {
	for _, seed := range []string{"unix:///x", "unix://", "unix:///a b", "unix:///x%00", "unix://h/x", "unix:///x?y", "unix:////", "unix:/x", "unix:x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const secret = "hunter2hunter2hunter2"
		if !strings.HasPrefix(text, "unix://") {
			text = "unix://" + text
		}
		_, err := backend.Open(context.Background(), text+secret, nil)
		if err == nil {
			t.Fatal("opened")
		}
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("%v holds a part of the URL", err)
		}
		if !errors.Is(err, backend.ErrInvalidURL) && !errors.Is(err, backend.ErrNotApplied) {
			t.Fatalf("%v is neither a bad URL nor a failure to connect", err)
		}
	})
}
