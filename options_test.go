package keystore

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

var badOwners = []string{"", strings.Repeat("o", 257), "a\x00", "\x00", "\xff", "a\xc3", "\xed\xa0\x80"}

func TestDefaultsOfOptions(t *testing.T) {
	for _, o := range []*Options{nil, {}} {
		full, err := o.withDefaults()
		require.NoError(t, err)
		require.Equal(t, "ks", full.Prefix)
		require.Equal(t, "sha256", full.Hash.Scheme())
		require.Equal(t, []time.Duration{Never, Never, 720 * time.Hour, 2 * time.Second, 5 * time.Second, 30 * time.Second, time.Hour},
			[]time.Duration{full.DefaultTTL, full.MaxTTL, full.Retention, full.OpTimeout, full.CacheTTL, full.TouchInterval, full.PurgeInterval})
		require.Equal(t, 10_000, full.CacheSize)
		require.NotNil(t, full.Logger)
		require.WithinDuration(t, time.Now(), full.Now(), time.Minute)
		require.False(t, full.Rehash)
	}
}

func TestNegativeDurationsAreInvalidButForNever(t *testing.T) {
	for field, at := range map[string]func(o *Options) *time.Duration{
		"DefaultTTL":    func(o *Options) *time.Duration { return &o.DefaultTTL },
		"MaxTTL":        func(o *Options) *time.Duration { return &o.MaxTTL },
		"Retention":     func(o *Options) *time.Duration { return &o.Retention },
		"OpTimeout":     func(o *Options) *time.Duration { return &o.OpTimeout },
		"CacheTTL":      func(o *Options) *time.Duration { return &o.CacheTTL },
		"TouchInterval": func(o *Options) *time.Duration { return &o.TouchInterval },
		"PurgeInterval": func(o *Options) *time.Duration { return &o.PurgeInterval },
	} {
		for _, d := range []time.Duration{-2, -time.Second, -1 << 63} {
			var o Options
			*at(&o) = d
			ks, err := New(memory.New(), &o)
			requireField(t, err, field)
			require.Nil(t, ks)
			_, err = Open(context.Background(), "memory://", &o)
			requireField(t, err, field)
		}
		var o Options
		*at(&o) = Never
		ks, err := New(memory.New(), &o)
		if field == "CacheTTL" {
			requireField(t, err, field)
			continue
		}
		require.NoError(t, err, field)
		require.NoError(t, ks.Close())
	}
}

func TestPrefixRules(t *testing.T) {
	good := []string{"a", "z9", "sk_live", "a__b", "a_9", "p234567890123456"}
	bad := []string{"A", "9a", "_a", "a_", "_", "a-b", "a b", "a.b", "sk_Live", "p2345678901234567", "é", "a\x00", "a\n", "ａ", "sk_live_", strings.Repeat("a", 1000)}
	for _, p := range good {
		for _, o := range []*Options{{Prefix: p}, {AcceptPrefixes: []string{"x", p}}} {
			ks, err := New(memory.New(), o)
			require.NoError(t, err, "%q", p)
			require.NoError(t, ks.Close())
		}
	}
	for _, p := range bad {
		_, err := New(memory.New(), &Options{Prefix: p})
		requireField(t, err, "Prefix")
		_, err = New(memory.New(), &Options{AcceptPrefixes: []string{"x", p}})
		requireField(t, err, "AcceptPrefixes")
	}
	_, err := New(memory.New(), &Options{AcceptPrefixes: []string{""}})
	requireField(t, err, "AcceptPrefixes")
}

func TestOtherOptionsThatCannotBeMeant(t *testing.T) {
	_, err := New(nil, nil)
	requireField(t, err, "backend")
	_, err = New(memory.New(), &Options{DefaultTTL: time.Hour + 1, MaxTTL: time.Hour})
	requireField(t, err, "DefaultTTL")
	for _, o := range []*Options{{DefaultTTL: time.Hour, MaxTTL: time.Hour}, {DefaultTTL: time.Hour, MaxTTL: Never}, {DefaultTTL: Never, MaxTTL: time.Hour}} {
		ks, err := New(memory.New(), o)
		require.NoError(t, err)
		require.NoError(t, ks.Close())
	}
	_, err = New(memory.New(), &Options{AcceptHash: []Hasher{SHA256(), nil}})
	requireField(t, err, "AcceptHash")
}

func TestOptionsAreACopy(t *testing.T) {
	prefixes, hashers := []string{"other"}, []Hasher{SHA256()}
	f := newFixture(t, func(o *Options) {
		o.AcceptPrefixes, o.AcceptHash, o.Hash = prefixes, hashers, mustHasher(t)(HMAC("k", map[string][]byte{"k": pepper('a')}))
	})
	other, _, err := f.another(func(o *Options) { o.Prefix = "other" }).Generate(context.Background(), KeyParams{Owner: "alice"})
	require.NoError(t, err)
	prefixes[0], hashers[0] = "changed", fakeHasher{}
	require.True(t, f.works(other))
}

// handedOver is what the driver of the test's scheme was given.
var handedOver *backend.OpenOptions

func init() {
	backend.Register("handedover", func(_ context.Context, _ string, o *backend.OpenOptions) (backend.Backend, error) {
		handedOver = o
		return memory.New(), nil
	})
}

func TestOpenHandsTLSAndLoggerToTheDriver(t *testing.T) {
	opts := Options{TLS: &tls.Config{ServerName: "keys.example.com"}, Logger: slog.Default()}
	ks, err := Open(context.Background(), "handedover://", &opts)
	require.NoError(t, err)
	require.NoError(t, ks.Close())
	require.Same(t, opts.TLS, handedOver.TLS)
	require.Same(t, opts.Logger, handedOver.Logger)
}

func TestOpenNamesNothingOfTheURLButItsScheme(t *testing.T) {
	const secret = "s3cr3tPassw0rd"
	for _, scheme := range []string{"", "nosuch", "memory", "MEMORY", "badger+x", "1x", "-", "keystore", "sk_live", "mem ory", "mem\nory", "é"} {
		for _, rest := range []string{
			"://user:" + secret + "@host/db", "://" + secret, "://host/" + secret + "?x=1", "://host?password=" + secret, "://host#" + secret,
			":" + secret, "//" + secret, ":/" + secret, secret + "://", "://\x00" + secret, "://host\n" + secret, "://%zz" + secret, "://[::1" + secret, "?" + secret + "://x",
		} {
			ks, err := Open(context.Background(), scheme+rest, nil)
			require.ErrorIs(t, err, ErrInvalid, "%q", scheme+rest)
			require.Nil(t, ks)
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%q", err)} {
				if !strings.HasPrefix(rest, secret) { // where it stands for the scheme it is one
					require.NotContains(t, strings.ToLower(text), strings.ToLower(secret), "%q", scheme+rest)
				}
				require.NotContains(t, text, "host")
			}
		}
	}
	_, err := Open(context.Background(), "nosuch://x", nil)
	require.ErrorContains(t, err, `"nosuch"`)
	require.ErrorContains(t, err, "memory", "the schemes that are known")
	_, err = Open(context.Background(), strings.Repeat("k", 40)+"://x", nil)
	require.NotContains(t, err.Error(), "kkkkkk", "too long for a scheme")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Open(cancelled, "memory://", nil)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)

	ks, err := Open(context.Background(), "memory://", nil)
	require.NoError(t, err)
	require.NoError(t, ks.Ping(context.Background()))
	opened := ks.backend
	require.NoError(t, ks.Close())
	_, err = opened.Get(context.Background(), "0")
	require.ErrorIs(t, err, backend.ErrClosed, "Close closes what Open opened")
}

func TestLimitsOfWhatAKeyHolds(t *testing.T) {
	scopes := func(n, length int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprintf("%0*d", length, i)
		}
		return out
	}
	metadata := func(n, total int) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[fmt.Sprintf("%03d", i)] = strings.Repeat("v", total/n-3)
		}
		out["000"] += strings.Repeat("v", total%n)
		return out
	}
	bad := "\xff"
	const half = "é" // of two bytes
	for _, c := range []struct {
		field      string
		good, over KeyParams
	}{
		{"owner", KeyParams{Owner: "o"}, KeyParams{Owner: ""}},
		{"owner", KeyParams{Owner: strings.Repeat(half, 128)}, KeyParams{Owner: strings.Repeat(half, 128) + "o"}},
		{"owner", KeyParams{Owner: "\x01\ufffd\U0010ffff"}, KeyParams{Owner: "o\x00o"}},
		{"owner", KeyParams{Owner: "o"}, KeyParams{Owner: bad}},
		{"name", KeyParams{Name: strings.Repeat(half, 64)}, KeyParams{Name: strings.Repeat("n", 129)}},
		{"name", KeyParams{Name: "\x00"}, KeyParams{Name: bad}},
		{"description", KeyParams{Description: strings.Repeat("d", 1024)}, KeyParams{Description: strings.Repeat("d", 1025)}},
		{"description", KeyParams{Description: "\x00"}, KeyParams{Description: "ok" + bad}},
		{"scopes", KeyParams{Scopes: scopes(64, 128)}, KeyParams{Scopes: scopes(65, 3)}},
		{"scopes", KeyParams{Scopes: []string{strings.Repeat("s", 126) + ":*"}}, KeyParams{Scopes: []string{strings.Repeat("s", 127) + ":*"}}},
		{"scopes", KeyParams{Scopes: nil}, KeyParams{Scopes: []string{"a", strings.Repeat("s", 129)}}},
		{"scopes", KeyParams{Scopes: []string{}}, KeyParams{Scopes: []string{"a", bad}}},
		{"metadata", KeyParams{Metadata: metadata(64, 16<<10)}, KeyParams{Metadata: metadata(65, 1000)}},
		{"metadata", KeyParams{Metadata: metadata(3, 16<<10)}, KeyParams{Metadata: metadata(3, 16<<10+1)}},
		{"metadata", KeyParams{Metadata: metadata(1, 16<<10)}, KeyParams{Metadata: metadata(1, 16<<10+1)}},
		{"metadata", KeyParams{Metadata: map[string]string{strings.Repeat("k", 16<<10): ""}}, KeyParams{Metadata: map[string]string{strings.Repeat("k", 16<<10): "v"}}},
		{"metadata", KeyParams{Metadata: map[string]string{"": ""}}, KeyParams{Metadata: map[string]string{bad: ""}}},
		{"metadata", KeyParams{Metadata: map[string]string{"k": "\x00"}}, KeyParams{Metadata: map[string]string{"k": bad}}},
	} {
		ctx := context.Background()
		f := newFixture(t)
		for _, p := range []*KeyParams{&c.good, &c.over} {
			if p.Owner == "" && c.field != "owner" {
				p.Owner = "alice"
			}
		}
		token, key, err := f.Generate(ctx, c.good)
		require.NoError(t, err, "%s", c.field)
		found, err := f.Lookup(ctx, token.Reveal())
		require.NoError(t, err)
		require.Equal(t, key, found)
		calls := f.store.calls.Load()
		token, _, err = f.Generate(ctx, c.over)
		requireField(t, err, c.field)
		require.True(t, token.IsZero())
		require.Equal(t, calls, f.store.calls.Load())

		if c.field == "owner" {
			continue
		}
		_, plain := f.generate(KeyParams{})
		update := func(p KeyParams) error {
			_, err := f.Update(ctx, plain.ID, func(o *Changes) error {
				o.Name, o.Description, o.Scopes, o.Metadata = p.Name, p.Description, p.Scopes, p.Metadata
				return nil
			})
			return err
		}
		require.NoError(t, update(c.good))
		before := f.stored(plain.ID)
		requireField(t, update(c.over), c.field)
		require.Equal(t, before, f.stored(plain.ID))
	}
	f := newFixture(t)
	_, key := f.generate(KeyParams{})
	for reason, ok := range map[string]bool{strings.Repeat("r", 1025): false, bad: false, strings.Repeat(half, 512): true} {
		if _, err := f.Revoke(context.Background(), key.ID, reason); ok {
			require.NoError(t, err)
		} else {
			requireField(t, err, "reason")
		}
		if _, err := f.RevokeAll(context.Background(), "alice", reason); ok {
			require.NoError(t, err)
		} else {
			requireField(t, err, "reason")
		}
	}
}

func TestADigestThatNobodyCanCheckIsAnOutage(t *testing.T) {
	ctx := context.Background()
	must := mustHasher(t)
	peppered := must(HMAC("new", map[string][]byte{"new": pepper('n'), "old": pepper('o')}))
	f := newFixture(t, func(o *Options) { o.Hash, o.AcceptHash = peppered, []Hasher{SHA256()} })
	plain := f.another()
	token, key := f.generate(KeyParams{Scopes: []string{"a"}})

	requireUnknown := func(ks *Keystore, token Token) {
		t.Helper()
		found, err := ks.Lookup(ctx, token.Reveal(), "a")
		require.ErrorIs(t, err, ErrUnavailable)
		require.NotErrorIs(t, err, ErrUnauthenticated)
		require.Equal(t, Key{}, found)
		var refused *LookupError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, []string{string(ReasonUnknownHash), token.ID(), ""}, []string{string(refused.Reason), refused.KeyID, refused.Owner})
	}
	requireUnknown(plain, token) // another scheme
	otherRing := f.another(func(o *Options) {
		o.Hash, o.AcceptHash = must(HMAC("x", map[string][]byte{"x": pepper('x')})), []Hasher{must(Bcrypt(4)), SHA256()}
	})
	requireUnknown(otherRing, token) // another key of the scheme
	wrongPepper := f.another(func(o *Options) { o.Hash = must(HMAC("new", map[string][]byte{"new": pepper('x')})) })
	_, err := wrongPepper.Lookup(ctx, token.Reveal())
	require.Equal(t, ReasonWrongSecret, reasonOf(t, err), "of a key id that is known, the pepper decides")

	fresh, _, err := plain.Rotate(ctx, key.ID, time.Hour, nil) // now one secret of each scheme is live
	require.NoError(t, err)
	_, err = plain.Lookup(ctx, fresh.Reveal())
	require.NoError(t, err, "the other secret matches")
	requireUnknown(plain, token)
	for _, old := range []Token{token, fresh} {
		_, err = f.Lookup(ctx, old.Reveal())
		require.NoError(t, err, "both schemes are accepted here")
	}
	f.clock.add(time.Hour)
	_, err = plain.Lookup(ctx, token.Reveal())
	require.Equal(t, ReasonWrongSecret, reasonOf(t, err), "a superseded secret is no outage")
	require.Equal(t, ReasonSuperseded, f.reason(token))

	for _, h := range []Hasher{must(Bcrypt(4)), must(Argon2id(Argon2Params{Memory: 8, Time: 1, Threads: 1})), peppered, SHA256()} {
		first := f.another(func(o *Options) { o.Hash = h })
		second := f.another(func(o *Options) { o.AcceptHash = []Hasher{h} })
		token, key, err := first.Generate(ctx, KeyParams{Owner: "alice"})
		require.NoError(t, err)
		for _, ks := range []*Keystore{first, second} {
			found, err := ks.Lookup(ctx, token.Reveal())
			require.NoError(t, err, h.Scheme())
			require.Equal(t, key, found)
		}
		wrong := token.Reveal()[:len("sk_test_")+idLen] + strings.Repeat("x", secretLen)
		_, err = first.Lookup(ctx, wrong+referenceChecksum(wrong))
		require.Equal(t, ReasonWrongSecret, reasonOf(t, err), h.Scheme())
	}
}
