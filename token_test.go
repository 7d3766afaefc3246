package keystore

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGoldenTokensStayAsTheyAre(t *testing.T) {
	raw, err := os.ReadFile("testdata/tokens.json")
	require.NoError(t, err)
	var goldens []struct{ Prefix, ID, Secret, Token string }
	require.NoError(t, json.Unmarshal(raw, &goldens))
	require.NotEmpty(t, goldens)
	for _, g := range goldens {
		body := g.Prefix + "_" + g.ID + g.Secret
		require.Equal(t, body+referenceChecksum(body), g.Token)

		withRandom(t, drawing(g.Secret))
		token, err := newToken(g.Prefix, g.ID)
		require.NoError(t, err)
		require.Equal(t, g.Token, token.Reveal())

		prefix, id, ok := splitToken(g.Token)
		require.True(t, ok)
		require.Equal(t, []string{g.Prefix, g.ID}, []string{prefix, id})
		require.True(t, checksumMatches(g.Token))
	}
}

func TestTokenHasTheLengthsOfItsParts(t *testing.T) {
	for _, prefix := range []string{"a", "ks", "sk_live", "a__b9", "p234567890123456"} {
		f := newFixture(t, func(o *Options) { o.Prefix = prefix })
		token, key := f.generate(KeyParams{})
		text := token.Reveal()
		require.Len(t, text, len(prefix)+1+16+32+6)
		require.LessOrEqual(t, len(text), 71)
		require.Equal(t, prefix+"_"+key.ID, text[:len(prefix)+17])
		require.Equal(t, key.ID, token.ID())
		require.Equal(t, prefix, key.Prefix)
		require.Equal(t, referenceChecksum(text[:len(text)-6]), text[len(text)-6:])
		require.True(t, f.works(token))
	}
}

func TestZeroTokenIsNoToken(t *testing.T) {
	var zero Token
	require.True(t, zero.IsZero())
	require.Empty(t, zero.Reveal()+zero.ID()+zero.String()+zero.GoString())
	f := newFixture(t)
	token, _ := f.generate(KeyParams{})
	require.False(t, token.IsZero())
	require.Equal(t, ReasonMalformed, f.reason(zero))
}

func TestOnlyTheOneSpellingCostsAHashOrACall(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, func(o *Options) { o.Prefix, o.AcceptPrefixes = "sk_live", []string{"pk"} })
	token, _ := f.generate(KeyParams{})
	require.True(t, f.works(token))
	calls, hashed, verified := f.store.calls.Load(), f.hasher.hashed.Load(), f.hasher.verified.Load()

	wrong := misspellings(token.Reveal())
	require.Greater(t, len(wrong), 15_000)
	for text := range wrong {
		key, err := f.Lookup(ctx, text)
		require.ErrorIs(t, err, ErrUnauthenticated, "%q", text)
		require.Equal(t, ErrUnauthenticated.Error(), err.Error())
		require.Equal(t, Key{}, key)
		var refused *LookupError
		require.ErrorAs(t, err, &refused)
		require.Contains(t, []Reason{ReasonMalformed, ReasonUnknownPrefix}, refused.Reason, "%q", text)
		require.Empty(t, refused.KeyID+refused.Owner)

		digest, err := f.Hash(text)
		requireField(t, err, "token")
		require.True(t, digest.IsZero())
	}
	require.Equal(t, calls, f.store.calls.Load(), "backend calls")
	require.Equal(t, hashed, f.hasher.hashed.Load(), "hashes")
	require.Equal(t, verified, f.hasher.verified.Load(), "hashes")
}

func TestUnknownPrefixIsToldFromMalformedOnlyByReason(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, func(o *Options) { o.Prefix, o.AcceptPrefixes = "ks", []string{"old_ks", "sk_live"} })
	for prefix, accepted := range map[string]bool{
		"ks": true, "sk_live": true, "old_ks": true, "stage": false, "k": false, "ks2": false, "ks_x": false, "sk_liv": false, "sk_live2": false, "x_ks": false, "live": false,
	} {
		token, _, err := f.another(func(o *Options) { o.Prefix = prefix }).Generate(ctx, KeyParams{Owner: "alice"})
		require.NoError(t, err)
		calls := f.store.calls.Load()
		if accepted {
			require.True(t, f.works(token), prefix)
			continue
		}
		require.Equal(t, ReasonUnknownPrefix, f.reason(token), prefix)
		require.Equal(t, calls, f.store.calls.Load())
	}
}

func TestARightChecksumMakesNoTokenOfAnotherAlphabet(t *testing.T) {
	f := newFixture(t)
	token, _ := f.generate(KeyParams{})
	body := token.Reveal()[:len(token.Reveal())-checkLen]
	calls := f.store.calls.Load()
	for i := len("sk_test_"); i < len(body); i++ {
		for _, c := range "!_- \x00\n\xff/:@[`{" {
			text := body[:i] + string([]byte{byte(c)}) + body[i+1:]
			_, err := f.Lookup(context.Background(), text+referenceChecksum(text))
			require.Equal(t, ReasonMalformed, reasonOf(t, err), "%q at %d", c, i)
		}
	}
	require.Equal(t, calls, f.store.calls.Load())
}

func TestRefusingALongTextAllocatesNothing(t *testing.T) {
	f := newFixture(t)
	token, _ := f.generate(KeyParams{})
	text := token.Reveal()
	for name, bad := range map[string]string{
		"100 bytes":      strings.Repeat("a", 100),
		"1 MiB":          strings.Repeat("a", 1<<20),
		"1 MiB behind":   text + strings.Repeat("0", 1<<20),
		"1 MiB before":   strings.Repeat("a", 1<<20) + text,
		"wrong checksum": text[:len(text)-1] + "!",
		"unknown prefix": "other" + text[len("sk_test"):],
	} {
		require.Zero(t, allocations(func() { _, _ = f.Lookup(context.Background(), bad) }), name)
	}
}

func BenchmarkRefuse(b *testing.B) {
	f := newFixture(b)
	for name, text := range map[string]string{"100B": strings.Repeat("a", 100), "1MiB": strings.Repeat("a", 1<<20)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f.Lookup(context.Background(), text)
			}
		})
	}
}

// TestReadingATokenAllocatesNothing: what every lookup does with its token. (The
// pool of HMAC allocates at times under the race detector: BenchmarkToken.)
func TestReadingATokenAllocatesNothing(t *testing.T) {
	token, err := newToken("sk_live", "0VmNmGnm8k2QpXw1")
	require.NoError(t, err)
	text, hasher := token.Reveal(), SHA256()
	digest, err := hasher.Hash(text)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _, ok := splitToken(text)
		if !ok || !checksumMatches(text) || !hasher.Verify(text, digest) {
			t.Error("refused")
		}
	}))
}

// BenchmarkToken is the parts of a lookup that look at the token.
func BenchmarkToken(b *testing.B) {
	token, err := newToken("ks", "0VmNmGnm8k2QpXw1")
	require.NoError(b, err)
	text := token.Reveal()
	pepper, err := HMAC("a", map[string][]byte{"a": make([]byte, 32)})
	require.NoError(b, err)
	verify := func(h Hasher) func() bool {
		d, err := h.Hash(text)
		require.NoError(b, err)
		return func() bool { return h.Verify(text, d) }
	}
	for _, part := range []struct {
		name string
		run  func() bool
	}{
		{"split", func() bool { _, _, ok := splitToken(text); return ok }},
		{"checksum", func() bool { return checksumMatches(text) }},
		{"sha256", verify(SHA256())},
		{"hmac", verify(pepper)},
	} {
		b.Run(part.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !part.run() {
					b.Fatal("refused")
				}
			}
		})
	}
}

func TestStoredDigestIsNoToken(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	digest, err := f.Hash(token.Reveal())
	require.NoError(t, err)
	require.Contains(t, string(f.stored(key.ID).Data), string(digest.Sum()), "this is what the store holds")
	for _, text := range []string{
		digest.String(), string(digest.Sum()), hex.EncodeToString(digest.Sum()),
		base64.StdEncoding.EncodeToString(digest.Sum()), string(f.stored(key.ID).Data),
		"sk_test_" + key.ID + hex.EncodeToString(digest.Sum()),
	} {
		_, err := f.Lookup(context.Background(), text)
		require.Equal(t, ReasonMalformed, reasonOf(t, err))
	}
	forged := "sk_test_" + key.ID + hex.EncodeToString(digest.Sum())[:secretLen]
	_, err = f.Lookup(context.Background(), forged+referenceChecksum(forged))
	require.Equal(t, ReasonWrongSecret, reasonOf(t, err))
}

func TestPatternFindsWholeTokensOnly(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Prefix = "sk_live" })
	find := regexp.MustCompile(Pattern("sk_live"))
	require.Equal(t, `sk_live_[0-9A-Za-z]{54}\b`, find.String(), "scanners hold copies of it")
	var tokens []string
	for range 50 {
		token, _ := f.generate(KeyParams{})
		tokens = append(tokens, token.Reveal())
	}
	text := "a=" + strings.Join(tokens[:20], ",\n") + " \"" + strings.Join(tokens[20:40], `":"`) + "\"\nurl?k=" + strings.Join(tokens[40:], "&k=") + "."
	require.Equal(t, tokens, find.FindAllString(text, -1))

	token := tokens[0]
	for _, before := range []string{"x", "_", "9", `"a\n`, "k%3D", "X_"} {
		require.Equal(t, token, find.FindString(before+token), "after %q", before)
	}
	for _, no := range []string{
		token + "x", token + "_", token + "0", token[:len(token)-1], token[1:],
		strings.ToUpper(token), strings.Replace(token, "_", "-", 1), "sk_test" + token[len("sk_live"):],
		token[:20] + " " + token[21:], token[:20] + "\n" + token[21:], token[:20] + "_" + token[21:],
	} {
		require.False(t, find.MatchString(no), "%q", no)
	}
}
