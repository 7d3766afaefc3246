package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/memory"
)

var errInjected = errors.New("injected failure")

// backends are the ones that hold in one process.
var backends = []struct {
	name string
	open func(t *testing.T) backend.Backend
}{
	{"memory", func(*testing.T) backend.Backend { return memory.New() }},
	{"badger", func(t *testing.T) backend.Backend {
		b, err := badger.Open("", &badger.Options{InMemory: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}},
}

// newStoreOn makes a Keystore that the test closes. Without an interval of its
// own it does nothing in the background.
func newStoreOn(t *testing.T, b backend.Backend, o keystore.Options) *keystore.Keystore {
	t.Helper()
	if o.TouchInterval == 0 {
		o.TouchInterval = keystore.Never
	}
	if o.PurgeInterval == 0 {
		o.PurgeInterval = keystore.Never
	}
	ks, err := keystore.New(b, &o)
	require.NoError(t, err)
	t.Cleanup(func() { ks.Close() })
	return ks
}

func generate(t *testing.T, ks *keystore.Keystore) (string, keystore.Key) {
	t.Helper()
	token, key, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "owner"})
	require.NoError(t, err)
	return token.Reveal(), key
}

// requireReason checks the reason of a refused lookup, and that an error which
// is not about the token is never ErrUnauthenticated.
func requireReason(t *testing.T, want keystore.Reason, err error) {
	t.Helper()
	require.Equal(t, want, reasonOf(err), "%v", err)
	switch want {
	case keystore.ReasonUnavailable, keystore.ReasonOwnerCheck, keystore.ReasonUnknownHash:
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		require.NotErrorIs(t, err, keystore.ErrUnauthenticated)
	case keystore.ReasonCorrupt, keystore.ReasonClosed, keystore.ReasonInvalidScope:
		require.NotErrorIs(t, err, keystore.ErrUnauthenticated)
	}
}

func reasonOf(err error) keystore.Reason {
	if e, ok := errors.AsType[*keystore.LookupError](err); ok {
		return e.Reason
	}
	return ""
}

// isAny reports whether err is one of the targets.
func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// manualClock stands still between calls of advance.
type manualClock struct{ ms atomic.Int64 }

func newManualClock() *manualClock {
	c := new(manualClock)
	c.ms.Store(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func (c *manualClock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *manualClock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// testSeed is KEYSTORE_TEST_SEED, or a new one each time; it is logged.
func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KEYSTORE_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "KEYSTORE_TEST_SEED")
	}
	t.Logf("KEYSTORE_TEST_SEED=%d", seed)
	return seed
}

// increment counts in the metadata, so that running it twice shows, and leaves
// the name of the call that did it.
func increment(call string) func(*keystore.Changes) error {
	return func(c *keystore.Changes) error {
		n, _ := strconv.Atoi(c.Metadata["n"])
		c.Metadata["n"], c.Metadata["call"] = strconv.Itoa(n+1), call
		return nil
	}
}

func counter(k keystore.Key) int {
	text, _ := k.Metadata.Get("n")
	n, _ := strconv.Atoi(text)
	return n
}

// history remembers every version of every record that a backend accepted. Two
// versions of one revision are a lost update. It waits for each write to the
// end: one that Close gives up on its way would be a version that it missed.
type history struct {
	backend.Backend

	mu       sync.Mutex
	versions map[string]map[uint64][]byte
	twice    []string // revisions that were written twice with other bytes
}

func newHistory(b backend.Backend) *history {
	return &history{Backend: b, versions: make(map[string]map[uint64][]byte)}
}

func (h *history) Create(ctx context.Context, r backend.Record) error {
	err := h.Backend.Create(context.WithoutCancel(ctx), r)
	h.accepted(err, r, 1)
	return err
}

func (h *history) Update(ctx context.Context, r backend.Record) error {
	err := h.Backend.Update(context.WithoutCancel(ctx), r)
	h.accepted(err, r, r.Revision+1)
	return err
}

func (h *history) accepted(err error, r backend.Record, revision uint64) {
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.versions[r.ID] == nil {
		h.versions[r.ID] = make(map[uint64][]byte)
	}
	if old, ok := h.versions[r.ID][revision]; ok && !bytes.Equal(old, r.Data) {
		h.twice = append(h.twice, fmt.Sprintf("%s at %d", r.ID, revision))
	}
	h.versions[r.ID][revision] = bytes.Clone(r.Data)
}

// of returns the versions of a key in order, decoded.
func (h *history) of(t *testing.T, id string) []version {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Empty(t, h.twice, "each revision is written once")
	all := h.versions[id]
	out := make([]version, 0, len(all))
	for revision := uint64(1); revision <= uint64(len(all)); revision++ {
		data, ok := all[revision]
		require.True(t, ok, "revision %d is missing", revision)
		out = append(out, decodeVersion(t, data))
	}
	return out
}

// version is what these tests look at in a stored record. It is read by another
// decoder than the library's.
type version struct {
	Metadata []string    `cbor:"7,keyasint"`
	Expires  int64       `cbor:"9,keyasint"`
	Revoked  int64       `cbor:"10,keyasint"`
	Reason   string      `cbor:"11,keyasint"`
	Secrets  []oldSecret `cbor:"13,keyasint"`
}

type oldSecret struct {
	_          struct{} `cbor:",toarray"`
	Generation int
	Scheme     string
	KeyID      string
	Sum        []byte
	Until      *int64 // nil: the current one
}

func decodeVersion(t *testing.T, data []byte) (v version) {
	t.Helper()
	require.Greater(t, len(data), 5)
	require.NoError(t, cbor.Unmarshal(data[1:len(data)-4], &v))
	return v
}

func (v version) metadata(key string) string {
	for i := 0; i < len(v.Metadata); i += 2 {
		if v.Metadata[i] == key {
			return v.Metadata[i+1]
		}
	}
	return ""
}

// secret returns the one of a generation, nil if it is forgotten.
func (v version) secret(generation int) *oldSecret {
	for i := range v.Secrets {
		if v.Secrets[i].Generation == generation {
			return &v.Secrets[i]
		}
	}
	return nil
}
