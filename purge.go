package keystore

import (
	"context"
	"math/rand/v2"
	"time"
)

const purgeBatch = 500 // keys per backend call

// Purge deletes the keys whose retention has passed, and returns how many. It
// runs in the background too, see Options.PurgeInterval. On an error some are
// deleted, and calling it again goes on. Errors: ErrInvalid for a
// clock outside the years 1970 to 8888, ErrUnavailable, ErrClosed.
func (s *Keystore) Purge(ctx context.Context) (purged int, err error) {
	inside, end := s.begin(ctx, "purge", "")
	err = ErrPanicked
	defer func() {
		end(err)
		if purged > 0 || err != nil {
			s.tell(ctx, &Event{Action: ActionPurge, Count: purged}, Key{}, err)
		}
	}()
	purged, err = s.purge(inside)
	return purged, err
}

func (s *Keystore) purge(ctx context.Context) (int, error) {
	now := s.now()
	if err := checkClock(now); err != nil {
		return 0, err
	}
	purged := 0
	defer func() {
		if purged > 0 {
			s.family.forget() // or what was purged would still be called expired
		}
	}()
	for {
		if s.closed.Load() {
			return purged, ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return purged, s.unavailable(ctx, "purge", err)
		}
		n, err := s.purgeOnce(ctx, now)
		purged += n
		if err != nil {
			return purged, s.unavailable(ctx, "purge", err)
		}
		if n == 0 {
			return purged, nil
		}
	}
}

func (s *Keystore) purgeOnce(ctx context.Context, now time.Time) (int, error) {
	op := s.bound(ctx)
	defer op.end()
	return s.backend.Purge(op, now, purgeBatch)
}

// purgeLoop begins at a random point of the interval, so that processes which
// were started together do not sweep together.
func (s *Keystore) purgeLoop(ctx context.Context) {
	wait := time.NewTimer(rand.N(s.opts.PurgeInterval))
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		if _, err := s.Purge(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("keystore: purge failed, trying again at the next interval", "error", err)
		}
		wait.Reset(s.opts.PurgeInterval)
	}
}
