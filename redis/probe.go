package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// guard returns when the subscription is lost or not to be trusted any more.
//
// In every interval it publishes a probe through each master, the way changes
// are, and asks whether it still is the master it was. A probe that has not come
// back one interval later says that messages get lost: the connection is silent,
// or the subscription is on a server that the changes do not reach. Another
// replication id says that the data is another one's: after a failover changes
// may be undone, and their messages may have gone to nobody.
func (w *watch) guard(ctx context.Context, s *subscription) {
	ticker := time.NewTicker(w.b.options.ProbeInterval)
	defer ticker.Stop()
	var masters []string
	for {
		done := w.probe(ctx)
		select {
		case <-s.lost:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case r := <-done:
			switch {
			case r.err != nil:
				w.missed() // no use subscribing anew where nothing can be published
			case w.unheard(), masters != nil && !slices.Equal(masters, r.masters):
				return
			default:
				masters = r.masters
			}
		default:
			w.missed()
			// One round at a time: this one ends with its context, or with the
			// timeouts of the client.
			select {
			case <-done:
			case <-s.lost:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *watch) unheard() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.expected) > 0
}

// round is what came of a round of probes.
type round struct {
	masters []string // what tells one master from another, sorted
	err     error
}

// probe starts a round.
func (w *watch) probe(ctx context.Context) <-chan round {
	w.mu.Lock()
	w.round++
	number := w.round
	clear(w.expected)
	w.mu.Unlock()
	done := make(chan round, 1)
	w.b.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, w.b.options.ProbeInterval)
		defer cancel()
		var r round
		var mu sync.Mutex
		var count atomic.Int32
		r.err = w.b.eachMaster(ctx, func(ctx context.Context, client goredis.UniversalClient) error {
			payload := fmt.Sprintf("%s%s:%d:%d", probeMark, w.nonce, number, count.Add(1))
			master, err := w.probeOne(ctx, client, payload)
			mu.Lock()
			defer mu.Unlock()
			r.masters = append(r.masters, master)
			return err
		})
		slices.Sort(r.masters)
		done <- r
	})
	return done
}

// probeOne publishes payload through a master and returns its replication id, if it
// tells.
func (w *watch) probeOne(ctx context.Context, client goredis.UniversalClient, payload string) (string, error) {
	w.mu.Lock()
	w.expected[payload] = true // before it can come back
	w.mu.Unlock()
	pipe := client.Pipeline()
	published := pipe.Publish(ctx, w.b.names.channel, payload)
	info := pipe.Info(ctx, "replication")
	_, _ = pipe.Exec(ctx) // each command has its error
	if err := published.Err(); err != nil {
		return "", err
	}
	fields := infoFields(info.Val())
	if role := fields["role"]; role != "" && role != "master" {
		return "", fmt.Errorf("redis: the server is a %s", role)
	}
	return fields["master_replid"], nil
}

// eachMaster calls fn for each master of a cluster, concurrently, or for the one
// server that there is.
func (b *Backend) eachMaster(ctx context.Context, fn func(context.Context, goredis.UniversalClient) error) error {
	cluster, ok := b.client.(interface {
		ForEachMaster(ctx context.Context, fn func(ctx context.Context, master *goredis.Client) error) error
	})
	if !ok {
		return fn(ctx, b.client)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *goredis.Client) error { return fn(ctx, master) })
}

// infoFields takes the reply to INFO apart.
func infoFields(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			fields[name] = value
		}
	}
	return fields
}
