package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Headers of 1 MiB are cut off, however many clients send them, and others are
// served meanwhile.
func TestHugeHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {SelfSigned: true}} {
		s := serve(t, c)
		token, _ := s.generate("a")
		huge := strings.Repeat("x", 1<<20)
		var senders sync.WaitGroup
		stop := make(chan struct{})
		refused := make(chan int, 8)
		for range cap(refused) {
			senders.Go(func() {
				client := newClient()
				defer client.CloseIdleConnections()
				for done := false; !done; {
					a, err := ask(t.Context(), client, "GET", s.url("/verify"), huge, "")
					if err == nil { // a server that closes while much is under way may be seen as a reset
						refused <- a.StatusCode
						return
					}
					select {
					case <-stop:
						done = true
					default:
					}
				}
			})
		}
		for range sized(100, 2000) {
			require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
		}
		close(stop)
		senders.Wait()
		close(refused)
		for status := range refused {
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
		}
		require.Equal(t, 200, s.get("/verify", token).StatusCode)
		require.NotContains(t, s.log.String(), "xxxxxxxx")
	}
}

// What is a bit longer than the limit is 431 without fail.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	send := func(bytes int) (status string) {
		conn := s.dial()
		_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: "+strings.Repeat("x", bytes)+"\r\n\r\n")
		require.NoError(t, err)
		status, err = bufio.NewReader(conn).ReadString('\n') // what comes after may be cut off by a reset
		require.NoError(t, err)
		return status
	}
	require.Contains(t, send(maxHeader-200), " 200 ")
	require.Contains(t, send(maxHeader+4<<10), " 431 ")
}

// Answers to pipelined requests come in their order (RFC 9112, section 9.3.2).
func TestPipelinedRequests(t *testing.T) {
	s := serve(t, Config{})
	token, id := s.generate("a")
	conn := s.dial()
	const n = 200
	go func() {
		var b strings.Builder
		for i := range n {
			scope := "a"
			if i%3 == 1 {
				scope = fmt.Sprint("b", i)
			}
			fmt.Fprintf(&b, "GET /verify?scope=%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", scope, token)
		}
		_, _ = io.WriteString(conn, b.String())
	}()
	from := bufio.NewReader(conn)
	for i := range n {
		a := s.read(from)
		if i%3 == 1 {
			require.Equal(t, 403, a.StatusCode)
			require.Contains(t, a.Header.Get("Www-Authenticate"), fmt.Sprintf(`scope="b%d"`, i))
			continue
		}
		require.Equal(t, 200, a.StatusCode)
		require.Equal(t, id, a.Header.Get("X-Key-Id"))
	}
}
