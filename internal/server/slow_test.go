package server

import (
	"io"
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
		{"idle", timeouts{long, long, long, short}, "GET /verify HTTP/1.1\r\nHost: x\r\n\r\n", false},
	}
	for _, c := range slow {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, Config{timeouts: c.timeouts})
			token, _ := s.generate("a")
			const clients = 16
			cut := make(chan struct{}, clients)
			for range clients {
				conn := s.dial()
				go func() {
					defer func() { _ = conn.Close(); cut <- struct{}{} }()
					dripped := make(chan struct{})
					go func() {
						defer close(dripped)
						_, err := io.WriteString(conn, c.sends)
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
