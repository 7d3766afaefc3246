package keystore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// TestARevocationThatFindsItDoneIsNotHidden: another process revoked the key, so
// there is nothing to write; but the call returned, and must hold.
func TestARevocationThatFindsItDoneIsNotHidden(t *testing.T) {
	revoke := func(p *process, id string) error { _, err := p.Revoke(context.Background(), id, ""); return err }
	all := func(p *process, _ string) error {
		_, err := p.RevokeAll(context.Background(), "alice", "")
		return err
	}
	for name, c := range map[string]struct {
		size int // of the sibling's cache
		call func(p *process, id string) error
	}{
		"Revoke": {1, revoke}, "RevokeAll": {1, all},
		"Revoke without a cache": {-1, revoke}, "RevokeAll without a cache": {-1, all},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSharedStore(t)
				here, there := s.quiet(), s.quiet()
				sibling := (&process{t: t}).start(here.backend, s.options([]func(*Options){func(o *Options) { o.CacheSize = c.size }}))
				for _, by := range []*process{here, sibling} {
					token, id := here.generate()
					require.Equal(t, Reason(""), here.why(token))
					there.revoke(id)
					require.Equal(t, Reason(""), here.why(token), "it has not heard")
					require.NoError(t, c.call(by, id))
					require.Equal(t, ReasonRevoked, here.why(token))
				}
			})
		})
	}
}

type sliceError []string

func (sliceError) Error() string { return "several" }

// partly has a type that can be compared, and a value that cannot.
type partly struct {
	backend.Backend
	err error
}

// TestABackendThatCannotBeComparedIsAFamilyOfItsOwn.
func TestABackendThatCannotBeComparedIsAFamilyOfItsOwn(t *testing.T) {
	ks, err := New(partly{memory.New(), sliceError{"a"}}, nil)
	require.NoError(t, err)
	require.NoError(t, ks.Close())
}

// slowWrites needs a second for each Update.
type slowWrites struct{ quiet }

func (w slowWrites) Update(ctx context.Context, r backend.Record) error {
	time.Sleep(time.Second)
	return w.quiet.Update(ctx, r)
}

// TestAChangeOutlivesItsKeystore: the only keystore on a backend is closed while it
// changes a key, and one that joins meanwhile must not hide the change.
func TestAChangeOutlivesItsKeystore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		b := slowWrites{quiet{&process{t: t, inner: s.Open()}}}
		first, err := New(b, s.options(nil))
		require.NoError(t, err)
		token, key, err := first.Generate(t.Context(), KeyParams{Owner: "alice"})
		require.NoError(t, err)
		revoked := make(chan error)
		go func() { _, err := first.Revoke(context.Background(), key.ID, ""); revoked <- err }()
		synctest.Wait()
		require.NoError(t, first.Close())
		next := (&process{t: t}).start(b, s.options(nil))
		require.Equal(t, Reason(""), next.why(token.Reveal()))
		require.NoError(t, <-revoked)
		require.Equal(t, ReasonRevoked, next.why(token.Reveal()))
	})
}

// TestAnUnknownIDFromASlowRead is not older than a second when it refuses: a lookup
// that joined the read late makes another.
func TestAnUnknownIDFromASlowRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		here, there := s.quiet(func(o *Options) { o.OpTimeout = 4 * time.Second }), s.quiet()
		token, id := there.generate()
		stored, err := here.inner.Get(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, here.inner.Delete(t.Context(), id))
		here.on(nil, func(string) { time.Sleep(3 * time.Second) })
		go here.Lookup(context.Background(), token)
		synctest.Wait()
		require.NoError(t, here.inner.Create(t.Context(), stored))
		time.Sleep(2500 * time.Millisecond)
		require.Equal(t, Reason(""), here.why(token), "made 2.5 s before the lookup began")
	})
}

// TestAWaitForASlotKeepsOpTimeout: where it is shorter than the time between slots,
// the outcome is not known, and not a refusal.
func TestAWaitForASlotKeepsOpTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		here, there := s.quiet(func(o *Options) { o.OpTimeout = 20 * time.Millisecond }), s.quiet()
		token, id := here.generate()
		require.Equal(t, Reason(""), here.why(token))
		time.Sleep(time.Millisecond)
		next, _, err := there.Rotate(t.Context(), id, 0, nil)
		require.NoError(t, err)
		start := time.Now()
		_, err = here.Lookup(t.Context(), next.Reveal())
		require.ErrorIs(t, err, ErrUnavailable)
		require.NotErrorIs(t, err, ErrUnauthenticated)
		require.Equal(t, 20*time.Millisecond, time.Since(start))
		time.Sleep(rereadEvery)
		require.Equal(t, Reason(""), here.why(next.Reveal()))
	})
}

// TestWhatWasSeenToBeRevokedIsNotAcceptedForWantOfTheStore, though the read that saw
// it was not kept, since a flush came between.
func TestWhatWasSeenToBeRevokedIsNotAcceptedForWantOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		here, there := s.quiet(func(o *Options) { o.StaleIfUnavailable = time.Hour }), s.quiet()
		token, id := here.generate()
		require.Equal(t, Reason(""), here.why(token))
		there.revoke(id)
		time.Sleep(6 * time.Second)
		here.on(nil, func(string) { here.cache.flush() })
		require.Equal(t, ReasonRevoked, here.why(token))
		here.on(func(context.Context, string) error { return errors.New("down") }, nil)
		require.Equal(t, ReasonUnavailable, here.why(token))
	})
}

// TestCloseAmidANewRead of a wrong secret is ErrClosed, not a caller that gave up.
func TestCloseAmidANewRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		require.Equal(t, Reason(""), p.why(token))
		p.on(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, nil)
		time.Sleep(2 * rereadEvery)
		failed := make(chan error)
		go func() { _, err := p.Lookup(context.Background(), forged(t, token)); failed <- err }()
		synctest.Wait()
		go p.Close()
		err := <-failed
		require.ErrorIs(t, err, ErrClosed)
		require.NotErrorIs(t, err, context.Canceled)
	})
}

// TestABackendThatPanicsInTheBackground ends no program: who waits is told that the
// store failed, and the next read is made as ever.
func TestABackendThatPanicsInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		require.Equal(t, Reason(""), p.why(token))
		p.on(func(context.Context, string) error { panic("driver") }, nil)
		time.Sleep(time.Millisecond)
		require.Equal(t, ReasonUnavailable, p.why(forged(t, token)))
		p.on(nil, nil)
		require.Equal(t, ReasonWrongSecret, p.why(forged(t, token)))
		require.Equal(t, Reason(""), p.why(token))
	})
}
