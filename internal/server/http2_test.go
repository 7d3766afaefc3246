package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Many requests at once over one connection of HTTP/2.
func TestManyStreams(t *testing.T) {
	s := serve(t, Config{SelfSigned: true})
	token, id := s.generate("a")
	require.Equal(t, 2, s.get("/verify", token).ProtoMajor)
	var requests sync.WaitGroup
	errs := make(chan error, 400)
	for i := range cap(errs) {
		requests.Go(func() {
			want, path := 200, "/verify?scope=a"
			if i%2 == 1 {
				want, path = 403, fmt.Sprintf("/verify/b%d/", i)
			}
			a, err := ask(t.Context(), s.client, "GET", s.url(path), token, "")
			switch {
			case err != nil:
				errs <- err
			case a.StatusCode != want || want == 200 && a.Header.Get("X-Key-Id") != id:
				errs <- fmt.Errorf("%s: %d", path, a.StatusCode)
			}
		})
	}
	requests.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

// A client that opens streams and resets them at once, as fast as it can
// (CVE-2023-44487), does not keep others from being served, and memory is bounded.
func TestRapidReset(t *testing.T) {
	s := serve(t, Config{SelfSigned: true})
	token, _ := s.generate("a")
	head := encodeHead(t, s.addr, "/verify", token)
	before := inUse()
	var attackers sync.WaitGroup
	var sent atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	for range 2 {
		attackers.Go(func() {
			for ctx.Err() == nil {
				sent.Add(int64(resetStreams(ctx, s.addr, head, 1000)))
			}
		})
	}
	for n := 0; n < sized(10, 1000) || sent.Load() == 0; n++ {
		require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
	}
	stop()
	attackers.Wait()
	t.Logf("%d streams were opened and reset meanwhile", sent.Load())
	s.log.forget() // of which the test has a copy in memory
	require.Less(t, int64(inUse())-int64(before), int64(32<<20))
}

// Clients that open streams and leave no room for the answers hold no more requests
// than one for each connection, and as many beside that as there may be connections;
// the others are reset. Who reads is served meanwhile.
func TestStreamsWithoutRoomForAnswers(t *testing.T) {
	const limit, connections = 20, 4
	s := serve(t, Config{SelfSigned: true, MaxConnections: limit, timeouts: timeouts{time.Hour, time.Hour, time.Hour, time.Hour}})
	token, _ := s.generate("a")
	head := encodeHead(t, s.addr, "/verify", "") // the answer, 401, has a body
	held, reset := 0, 0
	for range connections {
		conn := dialHTTP2(t, s.addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		for i := range uint32(maxStreams) {
			require.NoError(t, conn.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: head, EndStream: true, EndHeaders: true}))
		}
		for answered := 0; answered < maxStreams; {
			frame, err := conn.ReadFrame()
			require.NoError(t, err)
			switch frame := frame.(type) {
			case *http2.HeadersFrame:
				require.False(t, frame.StreamEnded(), "the body must wait")
				held++
				answered++
			case *http2.RSTStreamFrame:
				reset++
				answered++
			}
		}
	}
	require.Equal(t, limit+connections, held)
	require.Equal(t, connections*maxStreams, held+reset)
	require.Equal(t, 1, strings.Count(s.log.String(), "too many requests"))
	require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
}

// Nothing is left in memory of a connection that has ended, whatever its client did.
func TestNothingIsLeftOfConnections(t *testing.T) {
	s := serve(t, Config{SelfSigned: true})
	token, _ := s.generate("a")
	require.Equal(t, 200, s.get("/verify", token).StatusCode)
	head := encodeHead(t, s.addr, "/verify", token)
	before := inUse()
	for range 40 {
		require.Positive(t, resetStreams(t.Context(), s.addr, head, 1000))
	}
	require.Eventually(t, func() bool {
		s.log.forget()
		return int64(inUse())-int64(before) < 8<<20
	}, patience, 10*time.Millisecond)
}

// A connection of HTTP/2 without requests is closed, and not before the time.
func TestIdleHTTP2(t *testing.T) {
	t.Parallel()
	const after = 200 * time.Millisecond
	s := serve(t, Config{SelfSigned: true, timeouts: timeouts{time.Hour, time.Hour, time.Hour, after}})
	conn := dialHTTP2(t, s.addr)
	answered := func() bool {
		for {
			frame, err := conn.ReadFrame()
			if err != nil {
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				return false
			}
			if _, is := frame.(*http2.HeadersFrame); is {
				return true
			}
		}
	}
	began := time.Now()
	require.NoError(t, conn.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodeHead(t, s.addr, "/verify", ""), EndStream: true, EndHeaders: true}))
	if answered() { // unless the machine was too slow for it
		require.False(t, answered())
		require.GreaterOrEqual(t, time.Since(began), after)
	}
}

// A client that does not read at all is cut off by the timeout for writing.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	const path, requests = "/v1/openapi.json", maxStreams // whose answers are some MiB, more than the system keeps for a client
	for name, send := range map[string]func(t *testing.T, addr string){
		"HTTP/1.1": func(t *testing.T, addr string) {
			conn := dialAndNotRead(t, addr)
			_, _ = io.WriteString(conn, strings.Repeat("GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n", requests))
		},
		"HTTP/2": func(t *testing.T, addr string) {
			conn := dialHTTP2(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			_ = conn.WriteWindowUpdate(0, 1<<30)
			head := encodeHead(t, addr, path, "")
			for i := range uint32(requests) { // an error is that it is cut off already
				_ = conn.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: head, EndStream: true, EndHeaders: true})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Config{SelfSigned: name == "HTTP/2", timeouts: timeouts{time.Hour, time.Hour, 2 * time.Second, time.Hour}})
			eventually := func(path string, is func(body string) bool) {
				require.Eventually(t, func() bool { // on a busy machine the timeout hits others, too
					a, err := ask(t.Context(), s.client, "GET", s.url(path), "", "")
					return err == nil && is(a.body)
				}, patience, 10*time.Millisecond)
			}
			eventually(path, func(body string) bool { return len(body) > 32<<10 })
			send(t, s.addr)
			eventually("/metrics", func(body string) bool { // its connection is gone: that of this client is left
				return metric(t, body, `keystore_http_connections{listener="api"}`) == 1
			})
		})
	}
}

// dialAndNotRead opens a connection for which the system keeps little.
func dialAndNotRead(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4<<10))
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// encodeHead is the header block of a request, without a token for "".
func encodeHead(t *testing.T, host, path, token string) []byte {
	t.Helper()
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: host}, {Name: ":path", Value: path},
	}
	if token != "" {
		fields = append(fields, hpack.HeaderField{Name: "authorization", Value: "Bearer " + token, Sensitive: true})
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	e.SetMaxDynamicTableSize(0) // the same block serves every request
	for _, f := range fields {
		require.NoError(t, e.WriteField(f))
	}
	return block.Bytes()
}

// dialHTTP2 opens a connection that is read and written by frames.
func dialHTTP2(t *testing.T, addr string, settings ...http2.Setting) *http2.Framer {
	t.Helper()
	conn := tls.Client(dialAndNotRead(t, addr), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	_, err := conn.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	require.NoError(t, framer.WriteSettings(settings...))
	return framer
}

// resetStreams opens n streams and resets each, until the server hangs up or ctx
// ends; it returns how many it could.
func resetStreams(ctx context.Context, addr string, head []byte, n int) int {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return 0
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return 0
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	go func() { // what is not read would hold the server up
		for {
			if _, err := framer.ReadFrame(); err != nil {
				return
			}
		}
	}()
	for i := range n {
		if ctx.Err() != nil {
			return i
		}
		id := uint32(2*i + 1)
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndStream: true, EndHeaders: true})
		if err == nil {
			err = framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err != nil {
			return i
		}
	}
	return n
}
