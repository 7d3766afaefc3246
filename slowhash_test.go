package keystore

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// blockingHasher is a slow hasher that waits until it is let go.
type blockingHasher struct {
	Hasher
	entered chan struct{}
	leave   chan struct{}

	mu           sync.Mutex
	active, most int
	calls        int
}

func newBlockingHasher() *blockingHasher {
	return &blockingHasher{Hasher: SHA256(), entered: make(chan struct{}, 1000), leave: make(chan struct{})}
}

func (h *blockingHasher) run() func() {
	h.mu.Lock()
	h.calls++
	h.active++
	h.most = max(h.most, h.active)
	h.mu.Unlock()
	h.entered <- struct{}{}
	<-h.leave
	return func() { h.mu.Lock(); h.active--; h.mu.Unlock() }
}

func (h *blockingHasher) hash(token string) (Digest, error) {
	defer h.run()()
	return h.Hasher.Hash(token)
}

func (h *blockingHasher) verify(token string, d Digest) bool {
	defer h.run()()
	return h.Hasher.Verify(token, d)
}

// Verify is the way around the slots, which nothing should take.
func (h *blockingHasher) Verify(token string, d Digest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	return h.Hasher.Verify(token, d)
}

func TestSlowHashesWaitForASlotOrTheirContext(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	slow := newBlockingHasher()
	ks := f.another(func(o *Options) { o.Hash, o.CacheSize = slow, -1 }) // each lookup hashes
	slots := runtime.GOMAXPROCS(0)
	require.Equal(t, slots, cap(slowSlots))
	release := sync.OnceFunc(func() { close(slow.leave) })
	t.Cleanup(release)

	var running sync.WaitGroup
	outcomes := make(chan error, slots+8)
	for range slots + 8 {
		running.Go(func() {
			_, err := ks.Lookup(context.Background(), token.Reveal())
			outcomes <- err
		})
	}
	for range slots {
		<-slow.entered
	}
	for _, wait := range []func(ctx context.Context) error{
		func(ctx context.Context) error { _, err := ks.Lookup(ctx, token.Reveal()); return err },
		func(ctx context.Context) error { _, _, err := ks.Generate(ctx, KeyParams{Owner: "bob"}); return err },
		func(ctx context.Context) error { _, _, err := ks.Rotate(ctx, key.ID, 0, nil); return err },
	} {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- wait(ctx) }()
		cancel()
		var err error
		select {
		case err = <-ended:
		case <-slow.entered:
			t.Fatalf("more than %d at once", slots)
		}
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrUnauthenticated)
	}
	unknown := strings.Replace(token.Reveal(), key.ID, strings.Repeat("0", idLen), 1)
	unknown = unknown[:len(unknown)-checkLen]
	_, err := ks.Lookup(context.Background(), unknown+referenceChecksum(unknown))
	require.Equal(t, ReasonUnknownKey, reasonOf(t, err), "answered although every slot is taken")

	require.Equal(t, slots, slow.calls, "no other has begun")
	release()
	running.Wait()
	for range slots + 8 {
		require.NoError(t, <-outcomes)
	}
	require.Equal(t, slots, slow.most)
	require.Equal(t, slots+8, slow.calls)
}
