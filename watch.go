package keystore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"example.com/keystore/backend"
)

const (
	firstWatchPause = 100 * time.Millisecond // before a lost subscription is made again; it doubles
	maxWatchPause   = 5 * time.Second
)

// watchLoop drops from the cache what others change, as long as the backend can
// tell. While it cannot, entries are as old as CacheTTL at most.
func (s *Keystore) watchLoop(ctx context.Context, w backend.Watcher) {
	pause := firstWatchPause
	for {
		subscribed := time.Now()
		err := s.watchOnce(ctx, w)
		if ctx.Err() != nil || errors.Is(err, backend.ErrClosed) {
			return // nothing is ever read again either
		}
		if time.Since(subscribed) > 2*maxWatchPause {
			pause = firstWatchPause
		}
		s.opts.Logger.Warn("keystore: changes by others are not heard of, trying again; the cache stays within its bound", "error", err)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, maxWatchPause)
	}
}

var errSubscriptionEnded = errors.New("the subscription ended")

// watchOnce subscribes and listens until the subscription is lost. What was read
// before it was in force, and what is kept when it is lost, may be outdated.
func (s *Keystore) watchOnce(ctx context.Context, w backend.Watcher) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := w.Watch(ctx)
	if err != nil {
		return err
	}
	s.cache.flush()
	s.cache.counts.watch.Store(WatchActive)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case id, ok := <-changes:
			switch {
			case !ok:
				s.cache.counts.watch.Store(WatchLost)
				s.cache.flush()
				return errSubscriptionEnded
			case id == "":
				s.cache.flush()
			default:
				s.cache.evict(id)
			}
		}
	}
}
