package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Connections up to the limit are served; further ones wait until one leaves, and
// are served then. What each of them holds is bounded.
func TestConnectionsUpToTheLimit(t *testing.T) {
	const limit = 300 // cmd/keystore has a test with 10 000, which one process could not open both ends of
	s := serve(t, Config{MaxConnections: limit, timeouts: timeouts{readHeader: time.Hour, read: time.Hour, write: time.Hour, idle: time.Hour}})
	token, _ := s.generate("a")
	request := "GET /verify?scope=a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	type client struct {
		net.Conn
		from *bufio.Reader
	}
	asks := func(c client) error {
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		response, err := http.ReadResponse(c.from, nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != 200 {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	}
	before := inUse()
	clients := make([]client, limit)
	for i := range clients {
		conn := s.dial()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*patience)))
		clients[i] = client{conn, bufio.NewReaderSize(conn, 512)}
		require.NoError(t, asks(clients[i]), i)
	}
	per := (int64(inUse()) - int64(before)) / limit
	t.Logf("%d connections hold %d bytes each, those of the test included", limit, per)
	require.Less(t, per, int64(64<<10))

	late := client{Conn: s.dial()} // the system accepts it, the server does not yet
	late.from = bufio.NewReader(late)
	answered := make(chan error, 1)
	go func() { answered <- asks(late) }()
	for i := range clients { // those that are in are served meanwhile
		require.NoError(t, asks(clients[i]), i)
	}
	select {
	case <-answered:
		t.Fatal("there are more connections than the limit says")
	default:
	}
	require.NoError(t, clients[0].Close())
	require.NoError(t, <-answered)
}

// inUse is what is in use of the heap and of stacks, in bytes.
func inUse() uint64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// Nobody is let through later than the bound after a revocation in another
// process, over connections that were there before.
func TestRevocationOverLiveConnections(t *testing.T) {
	t.Parallel()
	const bound = 300 * time.Millisecond
	s := serveOnUnwatched(t, bound)
	token, id := s.generate("a")
	type reply struct {
		began  time.Time
		status int
		err    error
	}
	replies := make(chan reply, 1024)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				began := time.Now()
				a, err := ask(ctx, client, "GET", s.url("/verify?scope=a"), token, "")
				r := reply{began: began, err: err}
				if err == nil {
					r.status = a.StatusCode
				}
				select {
				case replies <- r:
				case <-ctx.Done():
				}
			}
		})
	}
	for range 64 * sized(5, 50) {
		r := <-replies
		require.NoError(t, r.err)
		require.Equal(t, 200, r.status)
	}
	_, err := s.keys.Revoke(t.Context(), id, "")
	require.NoError(t, err)
	revoked := time.Now()
	for refused := 0; refused < 64*sized(5, 50); {
		r := <-replies
		require.NoError(t, r.err)
		switch {
		case r.status == 401 || r.status == 429:
			refused++
		case r.began.After(revoked.Add(bound)):
			t.Fatalf("status %d, %v after the revocation", r.status, r.began.Sub(revoked))
		}
	}
	stop()
	clients.Wait()
}
