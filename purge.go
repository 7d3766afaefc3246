package keystore

import (
	"context"
	"math/rand/v2"
	"time"
)

const purgeBatch = 500 // keys per backend call

// purgeSlack is how long after their end the counts of windows stay: by the clock of
// another process they may not have ended.
const purgeSlack = time.Hour

// Purge deletes the keys whose retention has passed, and returns how many; also
// the counts of limits whose windows have ended, and usage whose retention has
// passed. It runs in the background too, see Options.PurgeInterval. On an error some
// are deleted, and calling it again goes on. Errors: ErrInvalid for a clock outside
// the years 1970 to 8888, ErrUnavailable, ErrClosed.
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
	if err := s.purgeAll(ctx, s.backend.Purge, now, &purged); err != nil {
		return purged, err
	}
	beside := 0
	if s.counter != nil {
		if err := s.purgeAll(ctx, s.counter.PurgeCounts, now.Add(-purgeSlack), &beside); err != nil {
			return purged, err
		}
	}
	if s.meter != nil {
		return purged, s.purgeAll(ctx, s.meter.PurgeUsage, now, &beside)
	}
	return purged, nil
}

// purgeAll calls a method of the backend until it finds nothing more.
func (s *Keystore) purgeAll(ctx context.Context, purge func(context.Context, time.Time, int) (int, error), now time.Time, purged *int) error {
	for !now.Before(firstTime) {
		if s.closed.Load() {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return s.unavailable(ctx, "purge", err)
		}
		n, err := s.purgeOnce(ctx, purge, now)
		*purged += n
		if err != nil {
			return s.unavailable(ctx, "purge", err)
		}
		if n == 0 {
			return nil
		}
	}
	return nil
}

func (s *Keystore) purgeOnce(ctx context.Context, purge func(context.Context, time.Time, int) (int, error), now time.Time) (int, error) {
	op := s.bound(ctx)
	defer op.end()
	return purge(op, now, purgeBatch)
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
