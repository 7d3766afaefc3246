package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// testNoon is when the tests' clocks start.
var testNoon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// testClock stands still until it is set.
type testClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func (c *testClock) add(d time.Duration) { c.set(c.now().Add(d)) }

// spyBackend counts the calls and lets a test stand in for a method.
type spyBackend struct {
	*memory.Backend
	calls, updates atomic.Int64
	create         func(ctx context.Context, r backend.Record) error
	get            func(ctx context.Context, id string) (backend.Record, error)
	list           func(ctx context.Context, o backend.ListOptions) ([]backend.Record, error)

	spends   atomic.Int64
	spend    func(ctx context.Context, s backend.Spend) (backend.Spent, error)
	addUsage func(ctx context.Context, additions []backend.Addition) error
}

func (b *spyBackend) Create(ctx context.Context, r backend.Record) error {
	b.calls.Add(1)
	if b.create != nil {
		return b.create(ctx, r)
	}
	return b.Backend.Create(ctx, r)
}

func (b *spyBackend) Get(ctx context.Context, id string) (backend.Record, error) {
	b.calls.Add(1)
	if b.get != nil {
		return b.get(ctx, id)
	}
	return b.Backend.Get(ctx, id)
}

func (b *spyBackend) Update(ctx context.Context, r backend.Record) error {
	b.calls.Add(1)
	b.updates.Add(1)
	return b.Backend.Update(ctx, r)
}

func (b *spyBackend) Delete(ctx context.Context, id string) error {
	b.calls.Add(1)
	return b.Backend.Delete(ctx, id)
}

func (b *spyBackend) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	b.calls.Add(1)
	if b.list != nil {
		return b.list(ctx, o)
	}
	return b.Backend.List(ctx, o)
}

func (b *spyBackend) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	b.calls.Add(1)
	return b.Backend.Purge(ctx, now, limit)
}

// spyHasher counts what a hasher is asked to do.
type spyHasher struct {
	Hasher
	hashed, verified atomic.Int64
	before           func() // of each Hash
}

func (h *spyHasher) Hash(token string) (Digest, error) {
	h.hashed.Add(1)
	if h.before != nil {
		h.before()
	}
	return h.Hasher.Hash(token)
}

func (h *spyHasher) Verify(token string, d Digest) bool {
	h.verified.Add(1)
	return h.Hasher.Verify(token, d)
}

// fixture is a keystore of prefix "sk_test" on a clock, a backend and a hasher
// that the test can watch. Nothing runs in the background.
type fixture struct {
	*Keystore
	t      testing.TB
	clock  *testClock
	store  *spyBackend
	hasher *spyHasher
}

func newFixture(t testing.TB, edit ...func(*Options)) *fixture {
	f := &fixture{
		t:      t,
		clock:  &testClock{at: testNoon},
		store:  &spyBackend{Backend: memory.New()},
		hasher: &spyHasher{Hasher: SHA256()},
	}
	f.Keystore = f.another(edit...)
	return f
}

// another makes one more keystore on the same store and clock.
func (f *fixture) another(edit ...func(*Options)) *Keystore {
	opts := &Options{Prefix: "sk_test", Now: f.clock.now, Hash: f.hasher, TouchInterval: Never, PurgeInterval: Never}
	for _, e := range edit {
		e(opts)
	}
	ks, err := New(f.store, opts)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { ks.Close() })
	return ks
}

// generate makes a key of owner "alice" unless p says otherwise.
func (f *fixture) generate(p KeyParams) (Token, Key) {
	f.t.Helper()
	if p.Owner == "" {
		p.Owner = "alice"
	}
	token, key, err := f.Generate(context.Background(), p)
	require.NoError(f.t, err)
	return token, key
}

// allocations is how many a call makes. What others do meanwhile is counted too, so it is
// the least of several measurements.
func allocations(call func()) float64 {
	least := testing.AllocsPerRun(100, call)
	for range 4 {
		least = min(least, testing.AllocsPerRun(100, call))
	}
	return least
}

// stored is the record as the backend holds it.
func (f *fixture) stored(id string) backend.Record {
	f.t.Helper()
	r, err := f.store.Backend.Get(context.Background(), id)
	require.NoError(f.t, err)
	return r
}

// plant puts a record into the backend in place of the one with its id.
func (f *fixture) plant(r backend.Record) {
	f.t.Helper()
	require.NoError(f.t, f.store.Backend.Delete(context.Background(), r.ID))
	require.NoError(f.t, f.store.Backend.Create(context.Background(), r))
}

// rewrite changes the stored record of a key behind the keystore's back.
func (f *fixture) rewrite(id string, change func(*record)) {
	f.t.Helper()
	stored := f.stored(id)
	var r record
	err := r.decode(stored.Data) // a zero record is decoded into
	require.NoError(f.t, err)
	change(&r)
	stored.Data, err = r.encode()
	require.NoError(f.t, err)
	require.NoError(f.t, f.store.Backend.Update(context.Background(), stored))
}

// works reports whether a lookup of the token succeeds; another outcome than
// success or ErrUnauthenticated fails the test.
func (f *fixture) works(token Token) bool {
	f.t.Helper()
	_, err := f.Lookup(context.Background(), token.Reveal())
	if err != nil {
		require.ErrorIs(f.t, err, ErrUnauthenticated)
	}
	return err == nil
}

// reason is why a lookup of the token is refused, "" if it is not.
func (f *fixture) reason(token Token) Reason {
	f.t.Helper()
	_, err := f.Lookup(context.Background(), token.Reveal())
	return reasonOf(f.t, err)
}

func reasonOf(t testing.TB, err error) Reason {
	t.Helper()
	if err == nil {
		return ""
	}
	var refused *LookupError
	require.ErrorAs(t, err, &refused)
	return refused.Reason
}

// requireField demands ErrInvalid that names the field.
func requireField(t testing.TB, err error, field string) {
	t.Helper()
	require.ErrorIs(t, err, ErrInvalid)
	var at *FieldError
	require.ErrorAs(t, err, &at)
	require.Equal(t, field, at.Field, "%v", err)
}

// withRandom makes r the system's random source while the test runs.
func withRandom(t testing.TB, r io.Reader) {
	real := rand.Reader
	rand.Reader = r
	t.Cleanup(func() { rand.Reader = real })
}

var errNoRandom = errors.New("the random source is dry")

// failingOnce is a random source that fails after so many readings.
type failingOnce struct {
	io.Reader
	left int
}

func (r *failingOnce) Read(p []byte) (int, error) {
	if r.left--; r.left == -1 {
		return 0, errNoRandom
	}
	return r.Reader.Read(p)
}

// secretOf is the part of a token that nothing may show.
func secretOf(token Token) string {
	text := token.Reveal()
	return text[len(text)-checkLen-secretLen : len(text)-checkLen]
}

// leaks reports whether text holds 8 characters of the secret in a row.
func leaks(text, secret string) bool {
	for i := 0; i+8 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+8]) {
			return true
		}
	}
	return false
}

// referenceChecksum is the checksum of a token, bit by bit: CRC-32 of IEEE
// 802.3, then six digits of base 62 by the arithmetic of math/big.
func referenceChecksum(text string) string {
	crc := ^uint32(0)
	for _, b := range []byte(text) {
		for range 8 {
			feedback := (crc^uint32(b))&1 == 1
			crc, b = crc>>1, b>>1
			if feedback {
				crc ^= 0xedb88320
			}
		}
	}
	digits := big.NewInt(int64(^crc)).Text(62) // 0-9a-zA-Z, where ours is 0-9A-Za-z
	swapped := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return c
	}, digits)
	return strings.Repeat("0", 6-len(swapped)) + swapped
}

// drawing is a random source from which newToken draws the given text.
func drawing(text string) *bytes.Reader {
	draw := make([]byte, 48)
	for i := range text {
		draw[i] = byte(strings.IndexByte(alphabet, text[i]))
	}
	return bytes.NewReader(draw)
}

// misspellings are texts near a token that are not it.
func misspellings(token string) map[string]bool {
	found := map[string]bool{}
	for i := range len(token) {
		for c := range 256 {
			found[token[:i]+string([]byte{byte(c)})+token[i+1:]] = true
		}
		found[token[:i]] = true
		found[token[i:]] = true
		found[token[:i]+token[i+1:]] = true
		if i > 0 {
			found[token[:i-1]+token[i:i+1]+token[i-1:i]+token[i+1:]] = true
		}
		if '0' <= token[i] && token[i] <= '9' {
			found[token[:i]+string('０'+rune(token[i]-'0'))+token[i+1:]] = true
		}
	}
	for _, add := range []string{
		" ", "\t", "\n", "\r", "\r\n", "\x00", "\u00a0", "\u200b", "\u2060", "\ufeff", "\u0301", "0", "a", "_", "-", "=", "%", "%00", "%20", "+", "\"", "é", "\xff",
	} {
		for i := range len(token) + 1 {
			found[token[:i]+add+token[i:]] = true
		}
	}
	for _, other := range []string{
		"", "_", "sk_live", "sk_live_", "Bearer", "Bearer " + token, "bearer " + token, token + token, token + "," + token,
		strings.ToUpper(token), strings.ToLower(token), "\"" + token + "\"", strings.Replace(token, "_", "%5F", 1),
		strings.Replace(token, "sk", "ｓｋ", 1), "x" + token, "sk_" + token, token[:len(token)-6] + "000000", strings.Repeat("0", 62), strings.Repeat("_", 62),
	} {
		found[other] = true
	}
	for swap := range len(token) {
		found[token[:swap]+swapCase(token[swap:])] = true
	}
	delete(found, token)
	return found
}

func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c|0x20 && c|0x20 <= 'z' {
			return c ^ 0x20
		}
		return c
	}, s)
}
