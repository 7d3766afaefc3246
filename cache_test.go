package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestALookupThatBeganWithinCacheTTLNeedsNoRead, and one that began later does,
// whatever others did meanwhile.
func TestTheBoundIsExact(t *testing.T) {
	for name, change := range map[string]func(p *process, id string) error{
		"revoke":  func(p *process, id string) error { _, err := p.Revoke(context.Background(), id, ""); return err },
		"rotate":  func(p *process, id string) error { _, _, err := p.Rotate(context.Background(), id, 0, nil); return err },
		"delete":  func(p *process, id string) error { return p.Delete(context.Background(), id) },
		"disable": func(p *process, id string) error { return p.edit(id, func(c *Changes) { c.Disabled = true }) },
		"narrow":  func(p *process, id string) error { return p.edit(id, func(c *Changes) { c.Scopes = nil }) },
		"expire": func(p *process, id string) error {
			_, err := p.Expire(context.Background(), id, time.Now())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSharedStore(t)
				here, there := s.quiet(func(o *Options) { o.CacheTTL = time.Minute }), s.quiet()
				token, id := here.generate("a:b")
				require.Equal(t, Reason(""), here.why(token, "a:b"))
				read := time.Now()
				time.Sleep(time.Second)
				require.NoError(t, change(there, id))
				require.NotEqual(t, Reason(""), there.why(token, "a:b"), "where it was changed it holds at once")
				time.Sleep(time.Until(read.Add(time.Minute - 1)))
				require.Zero(t, here.during(func() { require.Equal(t, Reason(""), here.why(token, "a:b")) }))
				time.Sleep(time.Nanosecond)
				require.Equal(t, int64(1), here.during(func() { require.NotEqual(t, Reason(""), here.why(token, "a:b")) }))
			})
		})
	}
}

func (p *process) edit(id string, fn func(*Changes)) error {
	_, err := p.Update(context.Background(), id, func(c *Changes) error { fn(c); return nil })
	return err
}

// TestAnEntryAgesFromBeforeItsRead: a slow read is old when it arrives.
func TestAnEntryAgesFromBeforeItsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		p.on(nil, func(string) { time.Sleep(1500 * time.Millisecond) })
		require.Equal(t, Reason(""), p.why(token))
		p.on(nil, nil)
		time.Sleep(3500*time.Millisecond - 1)
		require.Zero(t, p.during(func() { p.why(token) }))
		time.Sleep(time.Nanosecond)
		require.Equal(t, int64(1), p.during(func() { p.why(token) }))
	})
}

// TestAHitJudgesTheTime: what is cached expires to the millisecond, the key as well
// as its older secrets.
func TestAHitJudgesTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet(func(o *Options) { o.CacheTTL = time.Hour })
		token, key, err := p.Generate(t.Context(), KeyParams{Owner: "alice", TTL: 20 * time.Second})
		require.NoError(t, err)
		next, _, err := p.Rotate(t.Context(), key.ID, 10*time.Second, nil)
		require.NoError(t, err)
		require.Equal(t, Reason(""), p.why(token.Reveal()))
		require.Equal(t, Reason(""), p.why(next.Reveal()))
		require.Zero(t, p.during(func() {
			time.Sleep(10*time.Second - 1)
			r, err := p.LookupWith(t.Context(), token.Reveal(), LookupParams{})
			require.NoError(t, err)
			require.Equal(t, 1, r.Generation)
			require.Equal(t, 2, r.Key.Generation)
			require.False(t, r.Key.GraceUntil.IsZero())
			require.False(t, r.Stale)
			time.Sleep(time.Nanosecond)
			require.Equal(t, ReasonSuperseded, p.why(token.Reveal()))
			r, err = p.LookupWith(t.Context(), next.Reveal(), LookupParams{})
			require.NoError(t, err)
			require.True(t, r.Key.GraceUntil.IsZero(), "it is over")
			time.Sleep(10*time.Second - 1)
			require.Equal(t, Reason(""), p.why(next.Reveal()))
			time.Sleep(time.Nanosecond)
			require.Equal(t, ReasonExpired, p.why(next.Reveal()))
		}))
	})
}

// TestAThousandMissesMakeOneRead, of a key as well as of an id that has none.
func TestAThousandMissesMakeOneRead(t *testing.T) {
	for _, want := range []Reason{"", ReasonUnknownKey} {
		synctest.Test(t, func(t *testing.T) {
			p := newSharedStore(t).quiet()
			token, id := p.generate()
			if want != "" {
				require.NoError(t, p.Delete(t.Context(), id))
			}
			p.on(func(context.Context, string) error { time.Sleep(time.Second); return nil }, nil)
			require.Equal(t, int64(1), p.during(func() {
				var all sync.WaitGroup
				for range 1000 {
					all.Go(func() { require.Equal(t, want, p.why(token)) })
				}
				all.Wait()
			}))
		})
	}
}

// TestACallerThatGivesUpFailsNobodyElse: another one makes the read.
func TestACallerThatGivesUpFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		p.on(func(ctx context.Context, _ string) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
				return nil
			}
		}, nil)
		first, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			_, err := p.Lookup(first, token)
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for range 100 {
			all.Go(func() { require.Equal(t, Reason(""), p.why(token)) })
		}
		synctest.Wait()
		require.Equal(t, int64(1), p.reads.Load())
		cancel()
		all.Wait()
		require.Equal(t, int64(2), p.reads.Load())
	})
}

// TestAWaiterKeepsItsOwnDeadline while it waits for a read of another's.
func TestAWaiterKeepsItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet(func(o *Options) { o.OpTimeout = Never })
		token, _ := p.generate()
		p.on(func(ctx context.Context, _ string) error { time.Sleep(time.Minute); return nil }, nil)
		var all sync.WaitGroup
		all.Go(func() { require.Equal(t, Reason(""), p.why(token)) })
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := p.Lookup(ctx, token)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
		all.Wait()
	})
}

// TestErrorsAreNotCached: neither an outage nor a damaged record.
func TestErrorsAreNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		p := s.quiet()
		token, id := p.generate()
		down := errors.New("down")
		p.on(func(context.Context, string) error { return down }, nil)
		for range 3 {
			require.Equal(t, int64(1), p.during(func() { require.Equal(t, ReasonUnavailable, p.why(token)) }))
		}
		p.on(nil, nil)
		require.Equal(t, Reason(""), p.why(token))

		b := s.Open()
		stored, err := b.Get(t.Context(), id)
		require.NoError(t, err)
		whole := stored.Data
		stored.Data = whole[:len(whole)-1]
		require.NoError(t, b.Update(t.Context(), stored))
		time.Sleep(5 * time.Second)
		for range 3 {
			require.Equal(t, int64(1), p.during(func() { require.Equal(t, ReasonCorrupt, p.why(token)) }))
		}
		stored.Data, stored.Revision = whole, stored.Revision+1
		require.NoError(t, b.Update(t.Context(), stored))
		require.Equal(t, Reason(""), p.why(token))
	})
}

// TestAReadUnderWayIsNotKept where the id is dropped meanwhile, by a message, by a
// flush, by a change of this process or by what a management call saw.
func TestAReadUnderWayIsNotKept(t *testing.T) {
	for name, event := range map[string]func(p, sibling, there *process, id string){
		"message": func(p, _, there *process, id string) { there.revoke(id); p.tell(id) },
		"flush":   func(p, _, there *process, id string) { there.revoke(id); p.tell("") },
		"lost":    func(p, _, there *process, id string) { there.revoke(id); p.hangUp() },
		"change":  func(p, _, _ *process, id string) { p.revoke(id) },
		"sibling": func(_, sibling, _ *process, id string) { sibling.revoke(id) },
		"seen": func(p, _, there *process, id string) {
			there.revoke(id)
			_, err := p.Get(context.Background(), id)
			require.NoError(p.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSharedStore(t)
				p, there := s.told(), s.quiet()
				sibling := (&process{t: t}).start(p.backend, s.options(nil)) // on the same Backend value
				synctest.Wait()
				token, id := p.generate()
				read, answer := make(chan bool), make(chan bool)
				p.on(nil, func(string) { p.on(nil, nil); read <- true; <-answer })
				var slow sync.WaitGroup
				slow.Go(func() { require.Equal(t, Reason(""), p.why(token), "it began before") })
				<-read
				event(p, sibling, there, id)
				synctest.Wait()
				answer <- true
				slow.Wait()
				require.Equal(t, ReasonRevoked, p.why(token), "it was not kept")
			})
		})
	}
}

// TestAChangeIsNeverHiddenHere: once it has returned, and also if it failed, no
// lookup in this process is answered from before it.
func TestAChangeIsNeverHiddenHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		p := s.quiet(func(o *Options) { o.CacheTTL = time.Hour })
		sibling := (&process{t: t}).start(p.backend, s.options([]func(*Options){func(o *Options) { o.CacheTTL = time.Hour }}))
		for n := range 20 {
			token, id := p.generate("a:b")
			require.Equal(t, Reason(""), p.why(token, "a:b"))
			require.Equal(t, Reason(""), sibling.why(token, "a:b"))
			changes := []func() error{
				func() error { _, err := p.Revoke(t.Context(), id, ""); return err },
				func() error { _, err := sibling.Revoke(t.Context(), id, ""); return err },
				func() error { _, _, err := p.Rotate(t.Context(), id, 0, nil); return err },
				func() error { return sibling.Delete(t.Context(), id) },
				func() error { return p.edit(id, func(c *Changes) { c.Disabled = true }) },
			}
			require.NoError(t, changes[n%len(changes)]())
			require.NotEqual(t, Reason(""), p.why(token, "a:b"), n)
			require.NotEqual(t, Reason(""), sibling.why(token, "a:b"), n)
		}
	})
}

// TestAChangeThatTakesLong: lookups go on from the cache until it has returned, and
// share one read from then on.
func TestAChangeThatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, id := p.generate()
		end := p.family.changing(id)
		require.Equal(t, int64(1), p.during(func() {
			for range 1000 {
				require.Equal(t, Reason(""), p.why(token))
			}
		}))
		end()
		require.Equal(t, int64(1), p.during(func() { p.why(token); p.why(token) }))
	})
}

// TestCacheSizes: no cache, the smallest, and keys beyond the size.
func TestCacheSizes(t *testing.T) {
	for size, entries := range map[int]int{-1: 0, 1: 1, 10: 10, 1000: 300} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSharedStore(t).quiet(func(o *Options) { o.CacheSize = size })
				var tokens []string
				for range 300 {
					token, _ := p.generate()
					tokens = append(tokens, token)
				}
				for range 2 {
					for _, token := range tokens {
						require.Equal(t, Reason(""), p.why(token))
						require.Equal(t, ReasonWrongSecret, p.why(forged(t, token)))
						time.Sleep(time.Nanosecond)
					}
				}
				stats := p.Stats()
				require.Equal(t, entries, stats.Entries)
				if size < 0 {
					require.Equal(t, Stats{Watch: WatchOff}, stats)
					require.Equal(t, int64(1200), p.reads.Load())
				} else {
					require.Equal(t, 5*time.Second, stats.Bound)
					require.Equal(t, size < 300, stats.Evictions > 0)
				}
			})
		})
	}
}

// TestADetachedReadMayBeAheadOfALaterOne: what it found was told to a lookup, and the
// next one is not told of less, be it kept or being read.
func TestADetachedReadMayBeAheadOfALaterOne(t *testing.T) {
	for name, change := range map[string]struct {
		do   func(there *process, id string) error
		want Reason
	}{
		"revoked": {func(there *process, id string) error {
			_, err := there.Revoke(context.Background(), id, "")
			return err
		}, ReasonRevoked},
		"deleted": {func(there *process, id string) error { return there.Delete(context.Background(), id) }, ReasonUnknownKey},
	} {
		for _, landed := range []bool{true, false} {
			t.Run(fmt.Sprint(name, landed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSharedStore(t)
					p, there := s.quiet(), s.quiet()
					token, id := p.generate()
					begun, read, found, answer := make(chan bool), make(chan bool), make(chan bool), make(chan bool)
					var first, second sync.WaitGroup
					p.on(func(context.Context, string) error { p.on(nil, nil); begun <- true; <-read; return nil }, nil)
					first.Go(func() { require.Equal(t, change.want, p.why(token)) })
					<-begun
					_, err := p.Get(t.Context(), id) // detaches it
					require.NoError(t, err)
					if !landed {
						p.on(nil, func(string) { p.on(nil, nil); found <- true; <-answer })
					}
					second.Go(func() { require.Equal(t, Reason(""), p.why(token), "it was read before the change") })
					if landed {
						second.Wait()
					} else {
						<-found
					}
					require.NoError(t, change.do(there, id))
					read <- true
					first.Wait()
					require.Equal(t, int64(1), p.during(func() { require.Equal(t, change.want, p.why(token)) }))
					if !landed {
						answer <- true
						second.Wait()
					}
					require.Zero(t, p.during(func() { require.Equal(t, change.want, p.why(token)) }), "that is kept")
				})
			})
		}
	}
}
