package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/keystore/backend"
)

// helloTimeout is how long a server may take to say what it is.
const helloTimeout = 10 * time.Second

// client is a handle on the store that a server has. Each call has a connection of
// its own, so that one which is refused is known to have had no effect.
type client struct {
	http   *http.Client
	server string // of its hello

	closing context.Context // ends streams
	close   context.CancelFunc

	admission sync.RWMutex
	closed    bool
	work      sync.WaitGroup // calls and streams under way
}

// Open returns a handle on the store that a server has at path. It is a
// [backend.Watcher] if the store is one, a [backend.Counter] and a [backend.Meter]
// if the store is both, and has a method Backup if the store has.
// Errors: [ErrNoServer]; one that says what is wrong where a server is there that
// does not answer within 10 s, or is of another version. No error holds the path.
func Open(path string) (backend.Backend, error) { return open(context.Background(), path) }

func open(ctx context.Context, path string) (backend.Backend, error) {
	c := &client{http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true,
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
	}}}
	c.closing, c.close = context.WithCancel(context.Background())
	limited, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	h, err := c.greet(limited)
	switch {
	case ctx.Err() != nil:
		return nil, contextError(ctx)
	case limited.Err() != nil:
		return nil, fmt.Errorf("socket: the server did not answer within %v", helloTimeout)
	case err != nil:
		return nil, err
	case h.Protocol != protocol:
		return nil, fmt.Errorf("socket: the server speaks version %d of the protocol, and this program version %d: use the program of the server's version", h.Protocol, protocol)
	}
	c.server = h.Server
	return c.handle(h), nil
}

// served is what Open returns, whatever else it is.
type served interface{ serverID() string }

func (c *client) serverID() string { return c.server }

// Served reports whether b is a handle that Open made.
func Served(b backend.Backend) bool {
	_, ok := b.(served)
	return ok
}

// Same reports whether two backends are handles that Open made to one server.
func Same(a, b backend.Backend) bool {
	x, isA := a.(served)
	y, isB := b.(served)
	return isA && isB && x.serverID() == y.serverID()
}

func (c *client) greet(ctx context.Context) (hello, error) {
	var h hello
	response, err := c.post(ctx, "/hello", nil)
	if err != nil {
		return h, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRequest))
	if err != nil {
		return h, errLost
	}
	if lenient.Unmarshal(body, &h) != nil {
		return h, errors.New("socket: what listens there is not a keystore server")
	}
	return h, nil
}

// dial connects to the server. That it could not is certain to have had no effect.
func dial(ctx context.Context, path string) (conn net.Conn, err error) {
	err = withShort(path, func(short string) error {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", short)
		return err
	})
	if err == nil {
		if err = checkPeer(conn, path); err != nil {
			_ = conn.Close()
		}
	}
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		err = fmt.Errorf("%w: %w", ErrNoServer, withoutPath(err))
	default:
		err = fmt.Errorf("socket: %w", withoutPath(err))
	}
	return nil, notApplied{err}
}

// errLost says nothing of what the server did.
var errLost = errors.New("socket: the connection to the server was lost")

// post sends a request and returns the response, whose status is 200. An error is
// backend.ErrNotApplied if nothing of it can have reached the store.
func (c *client) post(ctx context.Context, path string, body []byte) (*http.Response, error) {
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := http.NewRequestWithContext(traced, http.MethodPost, "http://keystore"+path, bytes.NewReader(body))
	if err != nil {
		return nil, notApplied{errors.New("socket: the request cannot be made")}
	}
	response, err := c.http.Do(request)
	if err != nil {
		var refused notApplied
		switch {
		case errors.As(err, &refused):
			return nil, refused
		case ctx.Err() == nil:
			return nil, errLost
		case connected.Load():
			return nil, fmt.Errorf("socket: the context ended during the call, which may yet take effect: %w", ctx.Err())
		}
		return nil, notApplied{contextError(ctx)}
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		err := fmt.Errorf("socket: the server answered with status %d", response.StatusCode)
		if response.StatusCode < http.StatusInternalServerError {
			err = notApplied{err}
		}
		return nil, err
	}
	return response, nil
}

// enter admits a call. c.work.Done must follow.
func (c *client) enter(ctx context.Context) error {
	c.admission.RLock()
	defer c.admission.RUnlock()
	if c.closed {
		return backend.ErrClosed
	}
	if ctx.Err() != nil {
		return notApplied{contextError(ctx)}
	}
	c.work.Add(1)
	return nil
}

// call makes one call of the store.
func call[A any](ctx context.Context, c *client, path string, arguments any) (A, error) {
	var answer reply[A]
	if err := c.enter(ctx); err != nil {
		return answer.Value, err
	}
	defer c.work.Done()
	body, err := encoding.Marshal(arguments)
	switch {
	case err != nil:
		return answer.Value, notApplied{errors.New("socket: the arguments cannot be encoded")}
	case len(body) > maxRequest:
		return answer.Value, notApplied{fmt.Errorf("socket: the arguments take %d bytes, more than %d", len(body), maxRequest)}
	}
	response, err := c.post(ctx, path, body)
	if err != nil {
		return answer.Value, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxReply))
	switch {
	case err != nil && ctx.Err() != nil:
		return answer.Value, contextError(ctx)
	case err != nil:
		return answer.Value, errLost
	}
	if err := strict.Unmarshal(body, &answer); err != nil {
		return answer.Value, errors.New("socket: the server's reply cannot be read")
	}
	return answer.Value, answer.Failure.err()
}

// Close implements [backend.Backend]. It waits for the calls under way, and ends
// streams.
func (c *client) Close() error {
	c.admission.Lock()
	c.closed = true
	c.admission.Unlock()
	c.close()
	c.work.Wait()
	return nil
}
