package testserver

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echo is a server that sends back what it gets, and remembers it.
type echo struct {
	listener net.Listener
	mu       sync.Mutex
	got      bytes.Buffer
}

func startEcho(t *testing.T) *echo {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e := &echo{listener: l}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { e.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wait.Wait()
	})
	return e
}

func (e *echo) serve(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 1<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.got.Write(buf[:n])
		e.mu.Unlock()
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (e *echo) received() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got.String()
}

func startEchoProxy(t *testing.T) (*Proxy, *echo) {
	e := startEcho(t)
	return StartProxy(t, e.listener.Addr().String()), e
}

func connect(t *testing.T, p *Proxy) net.Conn {
	conn, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

func requireEcho(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	send(t, conn, text)
	buf := make([]byte, len(text))
	_, err := io.ReadFull(conn, buf)
	require.NoError(t, err)
	require.Equal(t, text, string(buf))
}

// rest is what comes until the connection is closed.
func rest(t *testing.T, conn net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is closed")
	return string(text)
}

// requireSilence shows that the connection is open and that nothing comes.
func requireSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
}

func is(text string) func([]byte) bool {
	return func(request []byte) bool { return string(request) == text }
}

func TestProxyPasses(t *testing.T) {
	p, e := startEchoProxy(t)
	a, b := connect(t, p), connect(t, p)
	requireEcho(t, a, "hello")
	requireEcho(t, b, "you")
	requireEcho(t, a, "there")
	assert.Equal(t, "helloyouthere", e.received())
	assert.Equal(t, 2, p.Connections())
	assert.Equal(t, 2, p.Open())
	a.Close()
	await(t, "a closed connection is forgotten", func() error {
		if p.Open() != 1 {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
}

func TestProxyFaults(t *testing.T) {
	for _, c := range []struct {
		fault            Fault
		server, client   string
		open             bool
		serverAfterwards string
	}{
		{CutBefore, "before", "", false, "beforeafter"},
		{CutRequest, "beforemar", "", false, "beforemarafter"},
		{DropReply, "beforemarked", "", false, "beforemarkedafter"},
		{CutReply, "beforemarked", "mar", false, "beforemarkedafter"},
		{HangReply, "beforemarked", "", true, "beforemarkedafter"},
	} {
		t.Run([]string{"", "cut before", "cut request", "drop reply", "cut reply", "hang reply"}[c.fault], func(t *testing.T) {
			p, e := startEchoProxy(t)
			conn, other := connect(t, p), connect(t, p)
			p.Next(c.fault, is("marked"))
			requireEcho(t, conn, "before")
			require.Zero(t, p.Count(c.fault))
			send(t, conn, "marked")
			if c.open {
				requireSilence(t, conn)
				send(t, conn, "ignored")
				requireSilence(t, conn)
			} else {
				require.Equal(t, c.client, rest(t, conn))
			}
			await(t, "the server has what it gets", func() error {
				if e.received() != c.server {
					return io.ErrUnexpectedEOF
				}
				return nil
			})
			require.Equal(t, 1, p.Count(c.fault))
			requireEcho(t, other, "after")
			require.Equal(t, c.serverAfterwards, e.received())
			requireEcho(t, other, "marked") // that was the one
			require.Equal(t, 1, p.Count(c.fault))
		})
	}
}

func TestProxyDropped(t *testing.T) {
	p, _ := startEchoProxy(t)
	p.DropReply(is("a"))
	p.HangReply(is("a"))
	p.CutBefore(is("a"))
	for range 3 {
		send(t, connect(t, p), "a")
	}
	await(t, "all faults", func() error {
		if p.Dropped() != 2 || p.Count(CutBefore) != 1 {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
}

func TestProxyPlan(t *testing.T) {
	p, _ := startEchoProxy(t)
	p.SetPlan(func(request []byte) Fault {
		if string(request) == "marked" {
			return DropReply
		}
		return Pass
	})
	for range 2 {
		conn := connect(t, p)
		requireEcho(t, conn, "a")
		send(t, conn, "marked")
		require.Empty(t, rest(t, conn))
	}
	require.Equal(t, 2, p.Dropped())
	p.SetPlan(nil)
	requireEcho(t, connect(t, p), "marked")
}

// A request may come in pieces; the reply comes after the last.
func TestProxyRequestInPieces(t *testing.T) {
	p, e := startEchoProxy(t)
	conn := connect(t, p)
	e.mu.Lock() // the server does not answer yet
	p.DropReply(is("first"))
	seen := make(chan struct{})
	p.SetPlan(func(request []byte) Fault { close(seen); return Pass })
	send(t, conn, "first")
	await(t, "the first piece is on its way", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.once) > 0 {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	send(t, conn, "second")
	<-seen
	e.mu.Unlock()
	require.Empty(t, rest(t, conn))
	require.Equal(t, 1, p.Dropped())
}

func TestProxyDelay(t *testing.T) {
	p, _ := startEchoProxy(t)
	conn := connect(t, p)
	requireEcho(t, conn, "a")
	p.Delay(100 * time.Millisecond)
	start := time.Now()
	requireEcho(t, conn, "b")
	require.GreaterOrEqual(t, time.Since(start), 100*time.Millisecond)
	p.Delay(0)
	requireEcho(t, conn, "c")
}

func TestProxyCutAllAndRefuse(t *testing.T) {
	p, e := startEchoProxy(t)
	conn := connect(t, p)
	requireEcho(t, conn, "a")
	p.CutAll()
	require.Empty(t, rest(t, conn))
	conn = connect(t, p)
	requireEcho(t, conn, "b")
	p.Refuse(true)
	require.Empty(t, rest(t, conn))
	require.Empty(t, rest(t, connect(t, p)))
	require.Equal(t, "ab", e.received())
	p.Refuse(false)
	requireEcho(t, connect(t, p), "c")
}

func TestProxyBlackHole(t *testing.T) {
	p, e := startEchoProxy(t)
	before := connect(t, p)
	requireEcho(t, before, "a")
	p.BlackHole(true)
	within := connect(t, p)
	for _, conn := range []net.Conn{before, within} {
		send(t, conn, "lost")
		requireSilence(t, conn)
	}
	p.BlackHole(false)
	require.Empty(t, rest(t, before))
	require.Empty(t, rest(t, within))
	require.Equal(t, "a", e.received())
	requireEcho(t, connect(t, p), "b")
}

func TestProxyHalfOpen(t *testing.T) {
	p, e := startEchoProxy(t)
	conn := connect(t, p)
	requireEcho(t, conn, "a")
	p.HalfOpen()
	send(t, conn, "lost")
	requireSilence(t, conn)
	require.Equal(t, "a", e.received())
	requireEcho(t, connect(t, p), "b")
}

func TestProxyTarget(t *testing.T) {
	p, first := startEchoProxy(t)
	old := connect(t, p)
	requireEcho(t, old, "a")
	second := startEcho(t)
	p.SetTarget(second.listener.Addr().String())
	requireEcho(t, connect(t, p), "b")
	requireEcho(t, old, "c")
	require.Equal(t, "ac", first.received())
	require.Equal(t, "b", second.received())
}
