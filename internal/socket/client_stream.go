package socket

import (
	"context"
	"errors"
	"io"

	"github.com/fxamacker/cbor/v2"

	"example.com/keystore/backend"
)

// null is the body of a request for a stream.
var null = []byte{0xf6}

// follow asks for a stream, which ends with ctx or the client. Call end when
// nothing of it is used any more.
func (c *client) follow(ctx context.Context, path string) (items *cbor.Decoder, end func(), err error) {
	if err := c.enter(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.closing, cancel)
	response, err := c.post(ctx, path, null)
	if err != nil {
		stop()
		cancel()
		c.work.Done()
		return nil, nil, err
	}
	return strict.NewDecoder(response.Body), func() {
		stop()
		cancel()
		_ = response.Body.Close()
		c.work.Done()
	}, nil
}

// ended is the error of a stream that is over: the client was closed, ctx has
// ended, or the connection was lost.
func (c *client) ended(ctx context.Context) error {
	switch {
	case c.closing.Err() != nil:
		return backend.ErrClosed
	case ctx.Err() != nil:
		return contextError(ctx)
	}
	return errLost
}

// watching is the method Watch of a client.
type watching struct{ c *client }

// Watch implements [backend.Watcher]. The subscription is lost with the connection.
func (w watching) Watch(ctx context.Context) (<-chan string, error) {
	ctx, cancel := context.WithCancel(ctx)
	items, end, err := w.c.follow(ctx, "/v1/watch")
	if err != nil {
		cancel()
		return nil, err
	}
	var subscribed reply[none]
	err = items.Decode(&subscribed)
	if err != nil {
		err = w.c.ended(ctx)
	} else {
		err = subscribed.Failure.err()
	}
	if err != nil {
		cancel()
		end()
		return nil, err
	}
	changes := make(chan string)
	go func() {
		defer end()
		defer cancel()
		defer close(changes)
		w.c.deliver(ctx, items, changes)
	}()
	return changes, nil
}

func (c *client) deliver(ctx context.Context, items *cbor.Decoder, changes chan<- string) {
	for {
		var id string
		if items.Decode(&id) != nil {
			return
		}
		select {
		case changes <- id:
		case <-ctx.Done():
			return
		case <-c.closing.Done():
			return
		}
	}
}

// backingUp is the method Backup of a client.
type backingUp struct{ c *client }

// Backup writes the backup of the store to w. To close the client ends it.
func (b backingUp) Backup(w io.Writer) error {
	ctx := context.Background()
	items, end, err := b.c.follow(ctx, "/v1/backup")
	if err != nil {
		return err
	}
	defer end()
	for {
		var part chunk
		if err := items.Decode(&part); err != nil {
			return b.c.ended(ctx)
		}
		if part.Failure != nil {
			return part.Failure.err()
		}
		if _, err := w.Write(part.Data); err != nil {
			return errors.Join(errors.New("socket: writing the backup"), err)
		}
		if part.Last {
			return nil
		}
	}
}
