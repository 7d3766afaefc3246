package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"example.com/keystore"
	"example.com/keystore/internal/socket"
)

// The names of endpoints.
const (
	nameMain = "api"
	nameOps  = "ops"
)

// timeouts are those of http.Server.
type timeouts struct{ readHeader, read, write, idle time.Duration }

func (t timeouts) withDefaults() timeouts {
	if t == (timeouts{}) {
		return timeouts{readHeader: 5 * time.Second, read: 15 * time.Second, write: 30 * time.Second, idle: 2 * time.Minute}
	}
	return t
}

// Limits of a request and of a connection.
const (
	maxHeader  = 16 << 10 // bytes; net/http adds 4 KiB
	maxBody    = 256 << 10
	maxStreams = 100 // of HTTP/2, on one connection
)

func (s *server) httpServer(name string, h http.Handler) *http.Server {
	t := s.config.timeouts
	count, idle := s.metrics.connState(name), &idle{after: t.idle}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: t.readHeader,
		ReadTimeout:       t.read,
		WriteTimeout:      t.write,
		IdleTimeout:       -1, // see idle
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, WriteByteTimeout: t.write}, // WriteTimeout leaves alone a connection that takes no byte
		ConnContext:       connContext,
		ConnState: func(c net.Conn, state http.ConnState) {
			count(c, state)
			idle.connState(c, state)
		},
		ErrorLog: errorLog(s.log),
	}
}

// open listens on everything, or on nothing. local is nil without Config.Socket.
func (s *server) open() (endpoints []*endpoint, local net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, e := range endpoints {
				err = errors.Join(err, e.listener.Close())
			}
		}
	}()
	add := func(name string, l net.Listener, h http.Handler) *endpoint {
		e := &endpoint{name: name, listener: l, http: s.httpServer(name, h)}
		endpoints = append(endpoints, e)
		return e
	}
	secret, err := s.config.tlsConfig()
	if err != nil {
		return nil, nil, err
	}
	handler, err := s.mainHandler()
	if err != nil {
		return nil, nil, err
	}
	l, err := s.config.listen()
	if err != nil {
		return nil, nil, err
	}
	main := add(nameMain, l, handler)
	main.http.TLSConfig, main.tls = secret, secret != nil
	if s.config.OpsListen != "" {
		if l, err = listenTCP(s.config.OpsListen); err != nil {
			return endpoints, nil, err
		}
		add(nameOps, netutil.LimitListener(l, maxOpsConnections), s.opsHandler())
	}
	if s.config.Socket != "" {
		local, err = socket.Listen(s.config.Socket)
	}
	return endpoints, local, err
}

const maxOpsConnections = 100

// listen listens for requests that carry tokens.
func (c *Config) listen() (net.Listener, error) {
	if err := c.checkAddress(); err != nil {
		return nil, err
	}
	open, address := listenTCP, c.Listen
	if path, isUnix := c.unixPath(); isUnix {
		open, address = listenUnix, path
	}
	l, err := open(address)
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(l, c.MaxConnections), nil
}

// unixPath returns the path of a unix socket.
func (c *Config) unixPath() (string, bool) { return strings.CutPrefix(c.Listen, "unix:") }

// checkAddress refuses to send tokens in the clear over a network, unless the
// operator wants it.
func (c *Config) checkAddress() error {
	if path, isUnix := c.unixPath(); isUnix && path != "" {
		return nil
	}
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("%w address to listen on: it is host:port or unix:/path", keystore.ErrInvalid)
	}
	if !c.tls() && !c.Insecure && !addr.IP.IsLoopback() {
		return fmt.Errorf("%w address to listen on: without TLS, tokens would cross the network in the clear", keystore.ErrInvalid)
	}
	return nil
}

func listenTCP(address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", withoutAddress(err))
	}
	return l, nil
}

// listenUnix takes the place of a socket that a killed process left behind. Every
// user of the machine may connect, as with a port: the folder's mode can forbid it.
func listenUnix(path string) (net.Listener, error) {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return nil, errors.New("cannot listen: another process listens on the socket")
	case errors.Is(err, syscall.ECONNREFUSED):
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
			_ = os.Remove(path)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", withoutAddress(err))
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // see above
		_ = l.Close()
		return nil, fmt.Errorf("cannot listen: %w", withoutAddress(err))
	}
	return l, nil
}

// withoutAddress is what is wrong with an address, which may be anything that was
// typed in the wrong place.
func withoutAddress(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return errors.New("the address cannot be used")
}
