package socket_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/internal/socket"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(servedPath); path != "" {
		serveForever(path)
	}
	goleak.VerifyTestMain(m)
}

// socketPath is the path of a socket in a folder of the test.
func socketPath(t testing.TB) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("skipped: a server listens on Unix only")
	}
	dir, err := os.MkdirTemp("", "ks") // t.TempDir may be too long for a socket elsewhere than on Linux
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "keystore.sock")
}

// serve serves the store until the test ends, or what it returns is called, and
// returns the path.
func serve(t testing.TB, b backend.Backend, changed func(context.Context, string)) (path string, end func()) {
	t.Helper()
	return serveHandler(t, socket.Handler(b, changed))
}

func serveHandler(t testing.TB, h http.Handler) (path string, end func()) {
	t.Helper()
	path = socketPath(t)
	l, err := socket.Listen(path)
	require.NoError(t, err)
	return path, serveOn(t, l, h)
}

func serveOn(t testing.TB, l net.Listener, h http.Handler) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- socket.Serve(ctx, l, h, nil) }()
	ended := false
	end = func() {
		if !ended {
			ended = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(end)
	return end
}

// open opens a handle, which is closed when the test ends.
func open(t testing.TB, path string) backend.Backend {
	t.Helper()
	b, err := socket.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// served is a handle on the store by way of a server.
func served(t testing.TB, b backend.Backend) backend.Backend {
	t.Helper()
	path, _ := serve(t, b, nil)
	return open(t, path)
}
