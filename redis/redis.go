package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
)

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Watcher = (*Backend)(nil)
	_ backend.Counter = (*Backend)(nil)
	_ backend.Meter   = (*Backend)(nil)
)

// Backend is a handle on a store. It is safe for concurrent use.
type Backend struct {
	client    goredis.UniversalClient
	owned     bool // client is closed with the handle
	names     *layout
	options   Options
	log       *slog.Logger
	direct    *direct
	coalescer *coalescer

	admission sync.RWMutex // guards closed, and adding to work
	closed    bool
	life      context.Context // ends with Close
	end       context.CancelFunc
	work      sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// New returns a handle on the store that client leads to. It sends nothing: see
// [Backend.Warnings] for what should be asked of the server.
//
// The client stays the caller's: close it after all handles on it. Its timeouts
// bound how long an attempt goes on after a call has returned. Its retries hold for
// reads only; writes are retried here.
//
// New refuses clients that read from replicas or from a cache, for they may show
// a key that was revoked as valid; ring clients, which show a server that is down
// as an empty one; and pipelining clients, which send writes again unseen. Of
// a failover client it cannot see whether it reads from replicas, and of a type
// that is not go-redis's own, nothing.
func New(client goredis.UniversalClient, o *Options) (*Backend, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkClient(client); err != nil {
		return nil, err
	}
	return newBackend(client, false, opts), nil
}

func checkClient(client goredis.UniversalClient) error {
	switch c := client.(type) {
	case nil:
		return errors.New("redis: New of a nil client")
	case *goredis.Client:
		if c == nil {
			return errors.New("redis: New of a nil client")
		}
		if o := c.Options(); o.ClientSideCache != nil || o.ClientSideCacheConfig != nil {
			return errors.New("redis: New of a client with a cache, which may show revoked keys as valid")
		}
	case *goredis.ClusterClient:
		if c == nil {
			return errors.New("redis: New of a nil client")
		}
		if o := c.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return errors.New("redis: New of a cluster client that reads from replicas (ReadOnly, RouteByLatency or RouteRandomly), which may show revoked keys as valid")
		}
	case *goredis.Ring:
		return errors.New("redis: New of a ring client, which shows a server that is down as an empty one")
	case *goredis.AutoPipeliner:
		return errors.New("redis: New of a pipelining client, which ignores deadlines and repeats writes unseen")
	}
	return nil
}

func newBackend(client goredis.UniversalClient, owned bool, o Options) *Backend {
	b := &Backend{
		client:  client,
		owned:   owned,
		names:   newLayout(o.Namespace),
		options: o,
		log:     o.Logger.With("package", "redis"),
		direct:  newDirect(client),
	}
	b.coalescer = newCoalescer(client, b.direct, &b.work)
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// closeGrace is how long Close waits for the calls under way, and again for them to
// notice that their client was closed.
const closeGrace = time.Second

// Close closes the channels of Watch and waits up to a second for the calls under
// way. A client that was opened by URL is closed then, which ends the rest of them.
// What waits for the reply of a server through a client of the caller's goes on
// until its timeouts.
func (b *Backend) Close() error {
	b.closeOnce.Do(func() {
		b.admission.Lock()
		b.closed = true
		b.admission.Unlock()
		b.end()
		idle := make(chan struct{})
		go func() {
			b.work.Wait()
			close(idle)
		}()
		wait := func() {
			select {
			case <-idle:
			case <-time.After(closeGrace):
			}
		}
		wait()
		if b.owned {
			b.closeErr = b.client.Close()
			wait()
		}
	})
	return b.closeErr
}
