package redis

import (
	"context"
	"errors"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// masters is what the client of a cluster can do.
type masters interface {
	ForEachMaster(ctx context.Context, fn func(ctx context.Context, master *goredis.Client) error) error
}

// follower is a line to one master of a cluster.
type follower struct {
	cancel context.CancelFunc
	ready  chan error    // what came of the first attempt to subscribe
	ended  chan struct{} // closed with the line
}

// followMasters keeps a line to each master of a cluster, and looks in every
// interval who they are. One line that is in force is enough to begin with.
func (w *watch) followMasters(ctx context.Context, cluster masters, ready chan<- error) {
	followers := make(map[string]*follower) // by address
	_, err := w.adjust(ctx, cluster, followers)
	good := 0
	for _, f := range followers {
		if e := <-f.ready; e == nil {
			good++
		} else {
			err = e
		}
	}
	if good == 0 && err == nil {
		err = errors.New("redis: the cluster has no masters")
	}
	if good == 0 {
		ready <- err
		return
	}
	ready <- nil
	w.begun = true
	ticker := time.NewTicker(w.b.options.ProbeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		changed, err := w.adjust(ctx, cluster, followers)
		if changed || err != nil {
			w.missed()
		}
		if closedForGood(err) {
			return
		}
	}
}

// adjust begins lines to masters that are new, ends those to others, and reports
// whether there were any. Lines end by themselves with ctx.
func (w *watch) adjust(ctx context.Context, cluster masters, followers map[string]*follower) (changed bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, max(w.b.options.ProbeInterval, time.Second))
	defer cancel()
	var mu sync.Mutex
	present := make(map[string]*goredis.Client)
	err = cluster.ForEachMaster(bounded, func(_ context.Context, master *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		present[master.Options().Addr] = master
		return nil
	})
	if err != nil {
		return false, failed(err)
	}
	for addr, f := range followers {
		select {
		case <-f.ended: // go-redis closed its client, and may have made another
		default:
			if present[addr] != nil {
				continue
			}
		}
		f.cancel()
		delete(followers, addr)
		changed = true
	}
	for addr, master := range present {
		if followers[addr] == nil {
			followers[addr] = w.startFollower(ctx, master)
			changed = true
		}
	}
	return changed, nil
}

func (w *watch) startFollower(ctx context.Context, master *goredis.Client) *follower {
	f := &follower{ready: make(chan error, 1), ended: make(chan struct{})}
	ctx, f.cancel = context.WithCancel(ctx)
	late := w.begun
	w.b.work.Go(func() {
		defer close(f.ended)
		defer f.cancel()
		l := &line{w: w, client: master, late: late}
		l.follow(ctx, f.ready)
	})
	return f
}
