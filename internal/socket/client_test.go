package socket_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

func TestErrorsKeepTheirMeaning(t *testing.T) {
	all := []error{
		backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrNotApplied, backend.ErrClosed,
		badger.ErrNoSpace, badger.ErrDamaged, badger.ErrUnfinishedRestore, context.Canceled,
	}
	for _, c := range []struct {
		err  error
		want []error
	}{
		{backend.ErrExists, []error{backend.ErrExists}},
		{fmt.Errorf("a: %w: %w", backend.ErrConflict, backend.ErrNotApplied), []error{backend.ErrConflict, backend.ErrNotApplied}},
		{badger.ErrNoSpace, []error{badger.ErrNoSpace, backend.ErrNotApplied}},
		{fmt.Errorf("%w: a table", badger.ErrDamagedTable), []error{badger.ErrDamaged}},
		{badger.ErrUnfinishedRestore, []error{badger.ErrUnfinishedRestore}},
		{errors.New("the disk is on fire"), nil},
		{context.Canceled, nil}, // the server's context, not the caller's
	} {
		b := served(t, faulty.New(memory.New(), faulty.Only(faulty.Refuse(c.err), faulty.Create, faulty.Get)))
		_, getting := b.Get(t.Context(), "x")
		for _, err := range []error{b.Create(t.Context(), backend.Record{ID: "x", Owner: "o"}), getting} {
			require.EqualError(t, err, c.err.Error(), "the text is the same as without a socket")
			for _, sentinel := range all {
				want := false
				for _, w := range c.want {
					want = want || w == sentinel
				}
				require.Equal(t, want, errors.Is(err, sentinel), "%v is %v", err, sentinel)
			}
		}
	}
}

// TestStoreThatTheServerClosed is not one that the client closed.
func TestStoreThatTheServerClosed(t *testing.T) {
	inner := memory.New()
	b := served(t, inner)
	require.NoError(t, inner.Close())
	r := backend.Record{ID: "x", Owner: "o"}
	for _, err := range []error{b.Create(t.Context(), r), b.Update(t.Context(), r), b.Delete(t.Context(), "x")} {
		require.NotErrorIs(t, err, backend.ErrClosed)
		require.ErrorIs(t, err, backend.ErrNotApplied)
	}
	_, err := b.Purge(t.Context(), time.Now(), 1)
	require.ErrorContains(t, err, "the server is ending")
	require.NotErrorIs(t, err, backend.ErrClosed)
	require.NotErrorIs(t, err, backend.ErrNotApplied, "chunks of it may have been")
}

// brokenServer reads a request and hangs up.
func brokenServer(t *testing.T, answer string) (path string) {
	path = socketPath(t)
	hello := newHello(t)
	l, err := socket.Listen(path)
	require.NoError(t, err)
	serveOn(t, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hello" {
			_, _ = w.Write(hello)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	}))
	return path
}

// newHello is what a server of today says.
func newHello(t *testing.T) []byte {
	path, end := serve(t, memory.New(), nil)
	defer end()
	conn := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	response, err := conn.Post("http://x/hello", "", nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return body
}

func TestLostReplyIsAnUnknownOutcome(t *testing.T) {
	for _, answer := range []string{
		"", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n\x83", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\x82\xf6\xf4",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "nonsense\r\n\r\n", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
	} {
		b := open(t, brokenServer(t, answer))
		r := backend.Record{ID: "x", Owner: "o"}
		whole := answer == "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\x82\xf6\xf4"
		for _, err := range []error{b.Create(t.Context(), r), b.Update(t.Context(), r), b.Delete(t.Context(), "x")} {
			if whole {
				require.NoError(t, err)
				continue
			}
			require.Error(t, err)
			for _, sentinel := range []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed, backend.ErrNotApplied} {
				require.NotErrorIs(t, err, sentinel, "%q", answer)
			}
		}
	}
	b := open(t, brokenServer(t, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"))
	require.ErrorIs(t, b.Delete(t.Context(), "x"), backend.ErrNotApplied, "it did not get to the store")
}

func TestCallerThatGivesUpStopsTheCall(t *testing.T) {
	begun, stopped := make(chan struct{}), make(chan struct{})
	wait := func(ctx context.Context, _ faulty.Do) error {
		close(begun)
		<-ctx.Done()
		close(stopped)
		return ctx.Err()
	}
	b := served(t, faulty.New(memory.New(), faulty.Only(wait, faulty.Update)))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	err := b.Update(ctx, backend.Record{ID: "x", Revision: 1})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, backend.ErrNotApplied, "nobody knows")
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("the server goes on")
	}
}

func TestCloseWaitsForCalls(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	path, _ := serve(t, waiting{memory.New(), begun, goOn}, nil)
	b, err := socket.Open(path)
	require.NoError(t, err)
	written := make(chan error, 1)
	go func() { written <- b.Create(context.Background(), backend.Record{ID: "x", Owner: "o"}) }()
	<-begun
	closed := make(chan struct{})
	go func() { _ = b.Close(); close(closed) }()
	require.Eventually(t, func() bool { _, err := b.Get(context.Background(), "x"); return errors.Is(err, backend.ErrClosed) }, 10*time.Second, time.Millisecond)
	select {
	case <-closed:
		t.Fatal("it is closed while a call is under way")
	default:
	}
	close(goOn)
	<-closed
	require.NoError(t, <-written)
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	l := listen(t, socketPath(t)) // accepts nothing
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := backend.Open(ctx, socket.URL(l.Addr().String()), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestServerOfAnotherKind(t *testing.T) {
	for body, want := range map[string]string{
		"<html>":                            "not a keystore server",
		"\xa1\x01\x02":                      "the server speaks version 2 of the protocol, and this program version 1",
		"\xa3\x01\x02\x02\x61a\x18\x63\xf5": "version 2", // with a field that is not known yet
		"":                                  "not a keystore server",
	} {
		path, _ := serveHandler(t, answering(body))
		_, err := socket.Open(path)
		require.ErrorContains(t, err, want, "%q", body)
	}
	path, _ := serveHandler(t, http.NotFoundHandler())
	_, err := socket.Open(path)
	require.ErrorContains(t, err, "status 404")
	_, err = socket.Open(filepath.Join(filepath.Dir(path), "nothing"))
	require.ErrorIs(t, err, socket.ErrNoServer)
	require.NotContains(t, err.Error(), "nothing")
}

// answering is a server that says the same to everything.
func answering(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
}

// TestChangedComesBeforeTheReply, so that who has the reply may rely on it.
func TestChangedComesBeforeTheReply(t *testing.T) {
	var mu sync.Mutex
	var told []string
	lost := errors.New("lost")
	inner := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		switch {
		case c.ID == "refused":
			return faulty.Refuse(badger.ErrNoSpace)
		case c.ID == "lost" && c.Method == faulty.Create:
			return faulty.LoseReply(lost)
		}
		return nil
	})
	var other backend.Backend
	path, _ := serve(t, inner, func(ctx context.Context, id string) {
		for range 20 { // takes its time
			_, _ = other.Get(ctx, id)
		}
		_, err := inner.Get(ctx, id)
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprint(id, " ", err == nil))
	})
	b := open(t, path)
	other = open(t, path)
	last := func() string {
		mu.Lock()
		defer mu.Unlock()
		if len(told) == 0 {
			return ""
		}
		one := told[0]
		told = told[1:]
		return one
	}
	ctx := t.Context()
	require.NoError(t, b.Create(ctx, backend.Record{ID: "x", Owner: "o"}))
	require.Equal(t, "x true", last())
	require.NoError(t, b.Update(ctx, backend.Record{ID: "x", Revision: 1}))
	require.Equal(t, "x true", last())
	require.NoError(t, b.Delete(ctx, "x"))
	require.Equal(t, "x false", last())
	require.EqualError(t, b.Create(ctx, backend.Record{ID: "lost", Owner: "o"}), "lost")
	require.Equal(t, "lost true", last(), "it may have happened")
	require.ErrorIs(t, b.Create(ctx, backend.Record{ID: "refused", Owner: "o"}), badger.ErrNoSpace)
	require.ErrorIs(t, b.Update(ctx, backend.Record{ID: "lost", Revision: 7}), backend.ErrConflict)
	_, err := b.Get(ctx, "lost")
	require.NoError(t, err)
	require.Empty(t, last(), "nothing has changed")
}

func TestTouchInChunks(t *testing.T) {
	inner := faulty.New(memory.New(), nil)
	b := served(t, inner)
	used, at := map[string]time.Time{}, time.UnixMilli(1)
	for n := range 2500 {
		used[fmt.Sprintf("key-%d", n)] = at
	}
	for _, id := range []string{"key-0", "key-1234", "key-2499"} {
		require.NoError(t, b.Create(t.Context(), backend.Record{ID: id, Owner: "o"}))
	}
	require.NoError(t, b.Touch(t.Context(), used))
	require.Equal(t, 3, inner.Calls(faulty.Touch))
	for _, id := range []string{"key-0", "key-1234", "key-2499"} {
		r, err := b.Get(t.Context(), id)
		require.NoError(t, err)
		require.True(t, r.LastUsed.Equal(at))
	}
	b = served(t, faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		if c.N > 1 {
			return faulty.Refuse(badger.ErrNoSpace)
		}
		return nil
	}))
	err := b.Touch(t.Context(), used)
	require.ErrorIs(t, err, badger.ErrNoSpace)
	require.NotErrorIs(t, err, backend.ErrNotApplied, "the first chunk was")
}

func TestArgumentsThatAreTooLong(t *testing.T) {
	inner := faulty.New(memory.New(), nil)
	b := served(t, inner)
	err := b.Create(t.Context(), backend.Record{ID: "x", Owner: "o", Data: make([]byte, 1<<20)})
	require.ErrorIs(t, err, backend.ErrNotApplied)
	require.Zero(t, inner.Calls(faulty.Create))
	for _, limit := range []int{-1, 0, 1001} {
		_, err = b.List(t.Context(), backend.ListOptions{Limit: limit})
		require.ErrorContains(t, err, "status 400")
	}
	_, err = b.Purge(t.Context(), time.Now(), -1)
	require.ErrorContains(t, err, "status 400")
}

// plain has no optional methods.
type plain struct{ backend.Backend }

// One of each that memory and badger are.
type (
	watcher interface{ backend.Watcher }
	counts  interface {
		backend.Counter
		backend.Meter
	}
)

func TestHandleCanDoWhatTheStoreCan(t *testing.T) {
	folder, err := badger.Open("", &badger.Options{InMemory: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	bare := plain{folder}
	for _, c := range []struct {
		store                 backend.Backend
		watch, backup, counts bool
	}{
		{plain{memory.New()}, false, false, false},
		{memory.New(), true, false, true},
		{folder, true, true, true},
		{struct {
			backend.Backend
			backupper
		}{bare, folder}, false, true, false},
		{struct {
			backend.Backend
			watcher
		}{bare, folder}, true, false, false},
		{struct {
			backend.Backend
			counts
		}{bare, folder}, false, false, true},
		{struct {
			backend.Backend
			backupper
			counts
		}{bare, folder, folder}, false, true, true},
		{struct {
			backend.Backend
			watcher
			backupper
		}{bare, folder, folder}, true, true, false},
		{struct {
			backend.Backend
			backend.Counter
		}{bare, folder}, false, false, false}, // one of the two is none
	} {
		b := served(t, c.store)
		_, watches := b.(backend.Watcher)
		_, backs := b.(backupper)
		_, spends := b.(backend.Counter)
		_, meters := b.(backend.Meter)
		_, restores := b.(interface{ Restore(io.Reader) error })
		require.Equal(t, []bool{c.watch, c.backup, c.counts, c.counts}, []bool{watches, backs, spends, meters}, "%T", c.store)
		require.False(t, restores, "a store that others use is not restored")
		require.True(t, socket.Served(b))
	}
}

func TestSame(t *testing.T) {
	store := memory.New()
	path, _ := serve(t, store, nil)
	a, b := open(t, path), open(t, path)
	require.True(t, socket.Same(a, b))
	require.True(t, socket.Served(a))
	require.False(t, socket.Served(store))
	require.False(t, socket.Same(a, served(t, store)), "another server")
	require.False(t, socket.Same(a, store))
	require.False(t, socket.Same(store, store))
}
