package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
)

// proxy passes the messages of any number of clients to a server, at most one
// writing command at a time over all of them. Commands that only read pass at any
// time.
//
// The next writing command starts when the server has answered the last one, also
// where the client no longer waits for the answer.
type proxy struct {
	target string
	write  sync.Mutex // held while a writing command is under way
}

// serve accepts clients until ctx ends, and returns when all connections are closed.
func (p *proxy) serve(ctx context.Context, listener net.Listener) {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			slog.Warn("cannot accept a connection", "error", err)
			continue
		}
		clients.Go(func() {
			defer client.Close() //nolint:errcheck // there is nothing to be flushed
			if err := p.connection(ctx, client); err != nil && ctx.Err() == nil {
				slog.Warn("connection ended", "client", client.RemoteAddr(), "error", err)
			}
		})
	}
}

// connection passes messages until the client has gone or ctx ends.
func (p *proxy) connection(ctx context.Context, client net.Conn) error {
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return err
	}
	defer server.Close() //nolint:errcheck // there is nothing to be flushed
	defer context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})()

	requests, replies := bufio.NewReader(client), bufio.NewReader(server)
	for {
		request, err := readMessage(requests)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := p.exchange(request, server, replies)
		if err != nil {
			return err
		}
		if request.oneWay() {
			continue // FerretDB answers these too, but nobody reads it
		}
		if _, err := client.Write(reply); err != nil {
			return err
		}
	}
}

// exchange sends one request and reads its one reply. FerretDB has no exhaust
// cursors and never streams, whatever a request allows.
func (p *proxy) exchange(request message, server io.Writer, replies *bufio.Reader) (message, error) {
	if !request.onlyReads() {
		p.write.Lock()
		defer p.write.Unlock()
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	reply, err := readMessage(replies)
	if err != nil {
		return nil, err
	}
	if reply.oneWay() {
		return nil, errors.New("the server streams its reply, which this proxy does not pass")
	}
	return reply, nil
}
