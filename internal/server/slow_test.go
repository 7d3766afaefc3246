package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Clients that send their headers or bodies byte by byte, or nothing at all, are
// cut off, each by the timeout for it; others are served meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const short, long = 200 * time.Millisecond, time.Hour
	slow := []struct {
		name     string
		timeouts timeouts
		sends    string // and then a byte now and then, where drips
		drips    bool
	}{
		{"silent", timeouts{short, long, long, long}, "", false},
		{"headers", timeouts{short, long, long, long}, "GET /verify HTTP/1.1\r\nHost: x\r\nX-Slow: ", true},
		{"body", timeouts{long, short, long, long}, "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", true},
		{"body that is read", timeouts{long, short, long, long}, "POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{", true},
		{"idle", timeouts{long, long, long, short}, "GET /verify HTTP/1.1\r\nHost: x\r\n\r\n", false},
	}
	for _, c := range slow {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, Config{timeouts: c.timeouts})
			token, _ := s.generate("a", "keystore:admin")
			sends := strings.Replace(c.sends, "TOKEN", token, 1)
			const clients = 16
			cut := make(chan struct{}, clients)
			for range clients {
				conn := s.dial()
				go func() {
					defer func() { _ = conn.Close(); cut <- struct{}{} }()
					dripped := make(chan struct{})
					go func() {
						defer close(dripped)
						_, err := io.WriteString(conn, sends)
						for c.drips && err == nil { // until the server has had enough
							time.Sleep(20 * time.Millisecond) // it is the slowness that is tested
							_, err = conn.Write([]byte("x"))
						}
					}()
					_, _ = io.Copy(io.Discard, conn)
					_ = conn.Close()
					<-dripped
				}()
			}
			began := time.Now()
			for gone := 0; gone < clients; {
				require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
				select {
				case <-cut:
					gone++
				default:
					require.Less(t, time.Since(began), patience-time.Second, "only %d were cut off", gone)
				}
			}
		})
	}
}

// The same over HTTP/2, where many requests share a connection.
func TestSlowBodyOverHTTP2(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{SelfSigned: true, timeouts: timeouts{time.Hour, 200 * time.Millisecond, time.Hour, time.Hour}})
	token, _ := s.generate("keystore:admin")
	body, pipe := io.Pipe()
	defer pipe.Close()
	go func() { _, _ = io.WriteString(pipe, "{") }() // and no more
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.url("/v1/keys"), body)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = 60_000
	ended := make(chan error, 1)
	go func() {
		a, err := s.client.Do(r)
		if err == nil {
			err = fmt.Errorf("answered %d by %s", a.StatusCode, a.Proto)
			_ = a.Body.Close()
		}
		ended <- err
	}()
	for {
		require.Equal(t, 200, s.get("/verify", token).StatusCode)
		select {
		case err := <-ended:
			if strings.HasPrefix(err.Error(), "answered") { // else the stream was reset
				require.EqualError(t, err, "answered 408 by HTTP/2.0")
			}
			return
		default:
		}
	}
}

// What slow clients hold in the server is what they may send, and not more. The
// clients are in the same process, so their part counts, too.
func TestSlowClientsHoldLittle(t *testing.T) {
	s := serve(t, Config{timeouts: timeouts{time.Hour, time.Hour, time.Hour, time.Hour}})
	token, _ := s.generate("keystore:admin")
	require.Equal(t, 200, s.get("/verify", token).StatusCode)
	const clients = 100 // of each kind
	before := inUse()
	for _, sends := range []string{
		"GET /verify HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 15<<10),
		"GET /verify HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 1<<20),
		"POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat(" ", 59_999),
	} {
		for range clients {
			conn := s.dial()
			defer conn.Close()
			_, _ = io.WriteString(conn, sends) // the second kind is cut off amid it
		}
	}
	for range 20 {
		require.Equal(t, 200, s.get("/verify", token).StatusCode)
		require.Less(t, int64(inUse())-int64(before), int64(32<<20), "about 48 KiB for each were seen")
	}
}
