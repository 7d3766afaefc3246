package keystore

import (
	"context"
	"strings"
	"sync"
	"time"
)

const (
	rehashQueue = 64      // secrets that wait for the worker; more are left for a later lookup
	rehashSeen  = 100_000 // secrets that are remembered as tried, before starting over
)

// rehasher rewrites, in the background, digests that were made by another scheme
// or key than new ones are.
type rehasher struct {
	queue chan rehashJob // nil: off

	mu   sync.Mutex
	seen map[rehashSecret]struct{}
}

type rehashSecret struct {
	id         string
	generation int
}

// rehashJob holds the token in memory until the worker has hashed it.
type rehashJob struct {
	id      string
	matched Digest
	token   func() string // a closure, so that no printer of the queue shows it
}

// offerRehash queues a secret whose digest is not what Options.Hash would make,
// unless this process has tried it before or the worker is too far behind.
func (s *Keystore) offerRehash(id string, matched *secret, token string) {
	if s.rehash.queue == nil {
		return
	}
	d := matched.digest
	if d.scheme == s.opts.Hash.Scheme() && d.kid == s.opts.Hash.KeyID() {
		return
	}
	s.rehash.mu.Lock()
	defer s.rehash.mu.Unlock()
	secret := rehashSecret{strings.Clone(id), matched.generation} // of the id only, not the record it is a part of
	if _, tried := s.rehash.seen[secret]; tried {
		return
	}
	select {
	case s.rehash.queue <- rehashJob{id, d, func() string { return token }}:
	default:
		return
	}
	if s.rehash.seen == nil || len(s.rehash.seen) >= rehashSeen {
		s.rehash.seen = make(map[rehashSecret]struct{})
	}
	s.rehash.seen[secret] = struct{}{}
}

func (s *Keystore) rehashLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-s.rehash.queue:
			if err := s.rehashOne(ctx, job); err != nil && ctx.Err() == nil {
				s.opts.Logger.Warn("keystore: a digest could not be rewritten", "key", job.id, "error", err)
			}
		}
	}
}

// rehashOne replaces the digest that matched, if the key still has it.
func (s *Keystore) rehashOne(ctx context.Context, job rehashJob) error {
	digest, err := s.digest(ctx, job.token())
	if err != nil {
		return err
	}
	_, err = s.change(ctx, job.id, "", func(r *record, now time.Time) (retries, error) {
		for i := range r.secrets {
			if r.secrets[i].digest == job.matched {
				r.secrets[i].digest = digest
				return bounded, nil
			}
		}
		return bounded, errUnchanged
	})
	return err
}
