package socket_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

var paths = []string{
	"/hello", "/v1/create", "/v1/get", "/v1/update", "/v1/delete", "/v1/list", "/v1/touch", "/v1/purge", "/v1/watch", "/v1/backup",
	"/v1/spend", "/v1/counts", "/v1/reset_counts", "/v1/purge_counts", "/v1/add_usage", "/v1/usage", "/v1/purge_usage",
}

// FuzzHandler sends bodies that may be anything: no panic, and an answer.
func FuzzHandler(f *testing.F) {
	for _, body := range []string{
		"", "\xf6", "\x61x", "\x86\x61x\x61o\x41d\x00\x00\x01", "\x86\x61x\x61o\xf6\x00\x00\x00",
		"\x83\x60\x60\x0a", "\x83\x60\x60\x20", "\xa1\x61x\x1b\x80\x00\x00\x00\x00\x00\x00\x01", "\x82\x00\x01", "\x82\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x1b\x7f\xff\xff\xff\xff\xff\xff\xff",
		"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\x5b\x00\x00\x00\x00\x7f\xff\xff\xff", "\xa2\x61x\x01\x61x\x02", "\xc0\x61x", "\x81\x81\x81\x81\x81\x81", "\x9f\xff",
	} {
		for i := range paths {
			f.Add(uint8(i), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		h := socket.Handler(memory.New(), nil)
		ctx, cancel := context.WithCancel(context.Background())
		if paths[int(which)%len(paths)] == "/v1/watch" {
			cancel() // it would not end
		}
		defer cancel()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, paths[int(which)%len(paths)], bytes.NewReader(body)))
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Fatal("status", w.Code)
		}
	})
}

func TestHandlerRefuses(t *testing.T) {
	h := socket.Handler(memory.New(), nil)
	status := func(method, path, body string) int { return statusOf(h, method, path, body) }
	require.Equal(t, http.StatusOK, status("POST", "/v1/get", "\x61x"))
	for _, body := range []string{
		"", "x", "\x01", "\x61x\x61x", // none, not CBOR, a number, two of them
		"\x7a\x00\x04\xb0\x00" + strings.Repeat("x", 300<<10), // too long
		"\x7f\x61x\xff", "\xd8\x20\x61x", // of indefinite length, tagged
	} {
		require.Equal(t, http.StatusBadRequest, status("POST", "/v1/get", body), "%.20q", body)
	}
	require.Equal(t, http.StatusMethodNotAllowed, status("GET", "/v1/get", "\x61x"))
	require.Equal(t, http.StatusNotFound, status("POST", "/v2/get", "\x61x"))
	require.Equal(t, http.StatusBadRequest, status("POST", "/v1/list", "\x83\x60\x60\x1b\x80\x00\x00\x00\x00\x00\x00\x00"), "a number that is no int")
}

func statusOf(h http.Handler, method, path, body string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code
}

// TestPanicOfTheStore ends a call, not the server.
func TestPanicOfTheStore(t *testing.T) {
	b := served(t, panicking{memory.New()})
	err := b.Create(t.Context(), backend.Record{ID: "x", Owner: "o"})
	require.ErrorContains(t, err, "the connection to the server was lost")
	require.NotErrorIs(t, err, backend.ErrNotApplied)
	_, err = b.Get(t.Context(), "x")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

type panicking struct{ backend.Backend }

func (panicking) Create(context.Context, backend.Record) error { panic("a planted panic") }

// TestServerEnds: a subscription ends at once, a call under way comes to its end.
func TestServerEnds(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	path, end := serve(t, waiting{memory.New(), begun, goOn}, nil)
	b := open(t, path)
	changes, err := b.(backend.Watcher).Watch(t.Context())
	require.NoError(t, err)
	written := make(chan error)
	go func() { written <- b.Create(context.Background(), backend.Record{ID: "x", Owner: "o"}) }()
	<-begun
	ended := make(chan struct{})
	go func() { end(); close(ended) }()
	select {
	case _, ok := <-changes:
		require.False(t, ok)
	case <-time.After(10 * time.Second):
		t.Fatal("the subscription goes on")
	}
	require.Eventually(t, func() bool {
		late, err := socket.Open(path)
		if err == nil {
			require.NoError(t, late.Close())
		}
		return errors.Is(err, socket.ErrNoServer) // before, the connection may be one that nobody accepts any more
	}, 10*time.Second, time.Millisecond)
	close(goOn)
	require.NoError(t, <-written)
	<-ended
}

// waiting is a store whose Create waits.
type waiting struct {
	*memory.Backend
	begun, goOn chan struct{}
}

func (w waiting) Create(ctx context.Context, r backend.Record) error {
	close(w.begun)
	<-w.goOn
	return w.Backend.Create(ctx, r)
}

// TestSubscriptionsLeaveNothingBehind makes many of them on one server.
func TestSubscriptionsLeaveNothingBehind(t *testing.T) {
	path, _ := serve(t, memory.New(), nil)
	b := open(t, path)
	before := runtime.NumGoroutine()
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		changes, err := b.(backend.Watcher).Watch(ctx)
		require.NoError(t, err)
		cancel()
		for range changes {
		}
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, 10*time.Second, 5*time.Millisecond)
}
