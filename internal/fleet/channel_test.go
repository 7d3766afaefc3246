package fleet

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// channel makes the connections of a reader to the server, and breaks those by which
// it hears of changes, and only those. To the reader it looks as if something on the
// way did so.
type channel struct {
	// match finds a request by which the reader hears of changes. A driver writes each
	// in one piece.
	match func(request []byte) bool
	// lasting: a connection that carries such a request carries nothing else from then
	// on, and breaks as a whole.
	lasting bool

	mu    sync.Mutex
	mode  mode
	conns map[*conn]struct{} // that have carried such a request
}

// mode says what becomes of the channel.
type mode string

const (
	whole  mode = ""
	cut    mode = "cut"    // such connections are closed, and new ones as soon as they are such
	silent mode = "silent" // what is sent either way is swallowed; the connections stay open
)

func newChannel(match func(request []byte) bool, lasting bool) *channel {
	return &channel{match: match, lasting: lasting, conns: make(map[*conn]struct{})}
}

func (c *channel) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	plain, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := plain.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T", plain)
	}
	return &conn{TCPConn: tcp, channel: c}, nil
}

// DialContext is for what wants a dialer and not a function.
func (c *channel) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.dial(ctx, network, addr)
}

// set breaks the channel, or mends it: what has lost bytes is closed then.
func (c *channel) set(m mode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mended := c.mode == silent && m != silent
	c.mode = m
	for conn := range c.conns {
		if m == cut || mended {
			_ = conn.TCPConn.Close()
		}
	}
}

// broken reports whether a connection loses what it carries, and how. request is
// what is about to be sent, nil: nothing.
func (c *channel) broken(conn *conn, request []byte) mode {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, is := c.conns[conn]
	switch {
	case is:
	case request != nil && c.match(request) && (c.lasting || c.mode != whole):
		c.conns[conn] = struct{}{}
	default:
		return whole
	}
	return c.mode
}

func (c *channel) remove(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// conn is one connection. It is a TCP connection still, so that clients can see
// whether it is alive.
type conn struct {
	*net.TCPConn
	channel *channel
}

func (c *conn) Write(request []byte) (int, error) {
	switch c.channel.broken(c, request) {
	case silent:
		return len(request), nil
	case cut:
		_ = c.TCPConn.Close()
	}
	return c.TCPConn.Write(request)
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.TCPConn.Read(p)
		if err != nil || c.channel.broken(c, nil) != silent {
			return n, err
		}
	}
}

func (c *conn) Close() error {
	c.channel.remove(c)
	return c.TCPConn.Close()
}
