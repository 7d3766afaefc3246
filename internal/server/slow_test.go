package server

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Clients that send their headers or bodies byte by byte, or nothing at all, are
// cut off; others are served meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	short := timeouts{readHeader: 200 * time.Millisecond, read: 400 * time.Millisecond, write: time.Second, idle: 200 * time.Millisecond}
	s := serve(t, Config{timeouts: short})
	token, _ := s.generate("keystore:admin", "a")
	cut := make(chan string, 64)
	began := time.Now()
	start := func(name, text string) {
		conn := s.dial()
		go func() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := io.WriteString(conn, text); err != nil || name == "silent" || name == "idle" {
					return
				}
				for { // until the server has had enough
					if _, err := conn.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond) // it is the slowness that is tested
				}
			}()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
			<-done
			cut <- name
		}()
	}
	const each = 8
	for range each {
		start("silent", "")
		start("headers", "GET /verify HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		start("body", "POST /v1/lookup HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
		start("idle", "GET /verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\n\r\n")
	}
	for n := 0; n < 4*each; {
		require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
		select {
		case <-cut:
			n++
		default:
			require.Less(t, time.Since(began), patience, "only %d were cut off", n)
		}
	}
	require.GreaterOrEqual(t, time.Since(began), short.readHeader)
}
