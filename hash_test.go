package keystore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func mustHasher(t testing.TB) func(h Hasher, err error) Hasher {
	return func(h Hasher, err error) Hasher {
		t.Helper()
		require.NoError(t, err)
		return h
	}
}

func pepper(fill byte) []byte { return []byte(strings.Repeat(string(rune(fill)), 32)) }

func TestEveryHasherVerifiesItsOwnDigestAndNothingElse(t *testing.T) {
	must := mustHasher(t)
	argon := func(p Argon2Params) Hasher { return must(Argon2id(p)) }
	hashers := []struct {
		Hasher
		scheme, kid, other string
		size               int
	}{
		{SHA256(), "sha256", "", "x", 32},
		{must(HMAC("k1", map[string][]byte{"k1": pepper('a'), "k2": pepper('b')})), "hmac-sha256", "k1", "k3", 32},
		{must(HMAC("k2", map[string][]byte{"k1": pepper('b'), "k2": pepper('a')})), "hmac-sha256", "k2", "", 32},
		{must(Bcrypt(4)), "bcrypt", "4", "04", 60},
		{must(Bcrypt(5)), "bcrypt", "5", "32", 60},
		{argon(Argon2Params{Memory: 8, Time: 1, Threads: 1}), "argon2id", "m8t1p1", "m08t1p1", 48},
		{argon(Argon2Params{Memory: 64, Time: 2, Threads: 3}), "argon2id", "m64t2p3", "m64t2p3x", 48},
	}
	f := newFixture(t)
	token, _ := f.generate(KeyParams{})
	other, _ := f.generate(KeyParams{})
	text := token.Reveal()
	var digests []Digest
	for _, h := range hashers {
		d, err := h.Hash(text)
		require.NoError(t, err)
		digests = append(digests, d)
		require.Equal(t, []string{h.scheme, h.kid}, []string{d.Scheme(), d.KeyID()})
		require.Equal(t, []string{h.scheme, h.kid}, []string{h.Scheme(), h.KeyID()})
		require.Len(t, d.Sum(), h.size)
		require.True(t, h.HasKey(h.kid))
		require.False(t, h.HasKey(h.other), "%s %q", h.scheme, h.other)
		parsed, err := ParseDigest(d.String())
		require.NoError(t, err)
		require.Equal(t, d, parsed)

		require.True(t, h.Verify(text, d), d.Scheme())
		for _, wrong := range []string{other.Reveal(), "", text[:len(text)-1], text + "0", swapCase(text), text + "\x00", "x" + text} {
			require.False(t, h.Verify(wrong, d), "%s accepts %q", h.scheme, wrong)
		}
		for _, damaged := range []Digest{
			{}, {d.scheme, d.kid, ""}, {d.scheme, d.kid, d.sum[1:]}, {d.scheme, d.kid, d.sum + "\x00"}, {d.scheme, "zz", d.sum},
			{"x", d.kid, d.sum}, {d.scheme, d.kid, flipBit(d.sum, 8*len(d.sum)-8)},
		} {
			require.False(t, h.Verify(text, damaged), "%s accepts %q", h.scheme, damaged)
		}
	}
	for i, h := range hashers {
		for j, d := range digests {
			own := i == j || h.scheme == d.scheme && h.scheme != "hmac-sha256" // slow hashers read their parameters from the digest
			require.Equal(t, own, h.Verify(text, d), "hasher %d, digest %d", i, j)
		}
	}
	salted, err := hashers[3].Hash(text)
	require.NoError(t, err)
	require.NotEqual(t, digests[3], salted, "bcrypt salts")
	salted, err = hashers[5].Hash(text)
	require.NoError(t, err)
	require.NotEqual(t, digests[5], salted, "argon2 salts")
}

func flipBit(s string, bit int) string {
	b := []byte(s)
	b[bit/8] ^= 1 << (bit % 8)
	return string(b)
}

func TestDigestsAreOfTheWholeTokenByTheStandard(t *testing.T) {
	f := newFixture(t)
	token, _ := f.generate(KeyParams{})
	plain, err := f.Hash(token.Reveal())
	require.NoError(t, err)
	want := sha256.Sum256([]byte(token.Reveal()))
	require.Equal(t, want[:], plain.Sum())

	h := mustHasher(t)(HMAC("k", map[string][]byte{"k": pepper('p')}))
	for range 3 { // the pool's second use is as good as the first
		keyed, err := h.Hash(token.Reveal())
		require.NoError(t, err)
		mac := hmac.New(sha256.New, pepper('p'))
		mac.Write([]byte(token.Reveal()))
		require.Equal(t, mac.Sum(nil), keyed.Sum())
	}
}

func TestBcryptJudgesByTheCostInsideTheSum(t *testing.T) {
	h := mustHasher(t)(Bcrypt(4))
	d, err := h.Hash("token")
	require.NoError(t, err)
	require.False(t, h.Verify("token", Digest{d.scheme, "5", d.sum}), "the key id says another cost")
	_, err = h.Hash(strings.Repeat("a", 73))
	require.Error(t, err)
	long, err := h.Hash(strings.Repeat("a", 72))
	require.NoError(t, err)
	require.False(t, h.Verify(strings.Repeat("a", 72), long), "longer than any token")
	require.False(t, h.Verify(strings.Repeat("a", 100), long), "bcrypt would cut it")
}

func TestSlowHashersRefuseParametersOutsideTheirLimits(t *testing.T) {
	for _, cost := range []int{math.MinInt, -1, 0, 3, 32, math.MaxInt} {
		_, err := Bcrypt(cost)
		requireField(t, err, "cost")
	}
	for _, cost := range []int{4, 31} {
		_, err := Bcrypt(cost)
		require.NoError(t, err)
	}
	for _, p := range []Argon2Params{
		{Memory: 7, Time: 1, Threads: 1}, {Memory: 8*4 - 1}, {Memory: 8*64 - 1, Threads: 64}, {Memory: 1<<20 + 1}, {Memory: math.MaxUint32},
		{Time: 65}, {Time: math.MaxUint32}, {Threads: 65}, {Threads: 255},
	} {
		_, err := Argon2id(p)
		requireField(t, err, "argon2")
	}
	for p, kid := range map[Argon2Params]string{
		{}: "m65536t3p4", {Memory: 8, Time: 1, Threads: 1}: "m8t1p1", {Memory: 1 << 20, Time: 64, Threads: 64}: "m1048576t64p64", {Memory: 512, Threads: 64}: "m512t3p64",
	} {
		h, err := Argon2id(p)
		require.NoError(t, err)
		require.Equal(t, kid, h.KeyID())
		require.True(t, h.HasKey(kid))
	}
	h := mustHasher(t)(Argon2id(Argon2Params{}))
	for _, kid := range []string{
		"", "m8t1p1 ", " m8t1p1", "m8t1p01", "m+8t1p1", "m8t1p1p1", "m8t1", "m7t1p1", "m8t0p1", "m8t1p0", "m8t65p1", "m512t1p65", "m512t1p257",
		"m1048577t1p1", "m4294967304t1p1", "m99999999999999999999t1p1", "t1m8p1", "M8t1p1", "m8 t1 p1",
	} {
		require.False(t, h.HasKey(kid), kid)
		require.False(t, h.Verify("token", Digest{"argon2id", kid, strings.Repeat("x", 48)}), kid)
	}
	b := mustHasher(t)(Bcrypt(4))
	for kid, has := range map[string]bool{"4": true, "31": true, "3": false, "32": false, "+4": false, "4 ": false, "": false, "-4": false, "0x4": false} {
		require.Equal(t, has, b.HasKey(kid), "%q", kid)
	}
}

func TestPepperRings(t *testing.T) {
	short := make([]byte, 31)
	for name, c := range map[string]struct {
		current string
		ring    map[string][]byte
	}{
		"nil ring":          {"k", nil},
		"no current":        {"", map[string][]byte{"k": pepper('a')}},
		"current elsewhere": {"l", map[string][]byte{"k": pepper('a')}},
		"short current":     {"k", map[string][]byte{"k": short}},
		"short other":       {"k", map[string][]byte{"k": pepper('a'), "l": short}},
		"nil key":           {"k", map[string][]byte{"k": nil}},
		"empty id":          {"", map[string][]byte{"": pepper('a')}},
		"dollar id":         {"a$b", map[string][]byte{"a$b": pepper('a')}},
		"long id":           {strings.Repeat("k", 65), map[string][]byte{strings.Repeat("k", 65): pepper('a')}},
		"bad other id":      {"k", map[string][]byte{"k": pepper('a'), "é": pepper('a')}},
	} {
		h, err := HMAC(c.current, c.ring)
		requireField(t, err, "pepper")
		require.Nil(t, h, name)
	}
	_, err := HMAC("k", map[string][]byte{"k": pepper('a'), "too.short": short}) // named, as long as it cannot be a pepper itself
	require.ErrorContains(t, err, "too.short")
	long := strings.Repeat("k", 64)
	_, err = HMAC(long, map[string][]byte{long: pepper('a')})
	require.NoError(t, err)
}

func TestThePepperRingIsACopy(t *testing.T) {
	key := pepper('a')
	ring := map[string][]byte{"k": key, "old": pepper('o')}
	h := mustHasher(t)(HMAC("k", ring))
	clear(key)
	delete(ring, "old")
	ring["new"] = pepper('n')
	d, err := h.Hash("token")
	require.NoError(t, err)
	mac := hmac.New(sha256.New, pepper('a'))
	mac.Write([]byte("token"))
	require.Equal(t, mac.Sum(nil), d.Sum())
	require.True(t, h.HasKey("old"))
	require.False(t, h.HasKey("new"))
}

func TestDigestBounds(t *testing.T) {
	sum := make([]byte, 128)
	for _, c := range []struct {
		scheme, kid string
		sum         []byte
		ok          bool
	}{
		{"a", "", sum[:1], true},
		{strings.Repeat("s", 32), strings.Repeat("K", 64), sum, true},
		{"a-9", "A.z_-9", sum, true},
		{"", "k", sum, false},
		{strings.Repeat("s", 33), "", sum, false},
		{"SHA256", "", sum, false},
		{"a_b", "", sum, false},
		{"a$b", "", sum, false},
		{"é", "", sum, false},
		{"a", strings.Repeat("K", 65), sum, false},
		{"a", "a$b", sum, false},
		{"a", "a b", sum, false},
		{"a", "\x00", sum, false},
		{"a", "", nil, false},
		{"a", "", make([]byte, 129), false},
	} {
		d, err := NewDigest(c.scheme, c.kid, c.sum)
		if !c.ok {
			requireField(t, err, "digest")
			require.True(t, d.IsZero())
			continue
		}
		require.NoError(t, err)
		parsed, err := ParseDigest(d.String())
		require.NoError(t, err)
		require.Equal(t, d, parsed)
		text, err := d.MarshalText()
		require.NoError(t, err)
		require.Equal(t, d.String(), string(text))
		d.Sum()[0] = 1
		require.Equal(t, parsed, d, "Sum is a copy")
	}
	require.Empty(t, Digest{}.String())
}

func TestOnlyTheOneTextFormOfADigestParses(t *testing.T) {
	good := "sha256$$AAECAw"
	_, err := ParseDigest(good)
	require.NoError(t, err)
	for _, bad := range []string{
		"", "$", "$$", "$$$", "sha256", "sha256$", "sha256$$", "sha256$AAECAw", "$sha256$$AAECAw", good + "$", good + "==", good + "\n", "\n" + good, good + " ", " " + good,
		"sha256$$AAEC\nAw", "sha256$$AAEC\r\nAw", "sha256$$AAECAx", "sha256$$AAE CAw", "sha256$$AA-_Aw", "SHA256$$AAECAw", "sha256$ $AAECAw", "sha256$$A", "sha256$$" + strings.Repeat("A", 600),
		"sha256$$=", "sha256$$\x00", "sha256$$" + strings.Repeat("A", 172),
	} {
		d, err := ParseDigest(bad)
		requireField(t, err, "digest")
		require.True(t, d.IsZero(), "%q", bad)
	}
}

func TestSumsAreComparedWhole(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	require.True(t, sameSum(sum[:], string(sum[:])))
	for bit := range 256 {
		require.False(t, sameSum(sum[:], flipBit(string(sum[:]), bit)))
	}
	require.False(t, sameSum(sum[:], string(sum[:31])))
	require.False(t, sameSum(sum[:31], string(sum[:])))
	require.False(t, sameSum(nil, string(sum[:])))
}

func TestAHasherThatFailsOrLiesLeavesNoKey(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		hasher Hasher
		want   error
	}{
		"fails":        {fakeHasher{err: broken}, ErrUnavailable},
		"other scheme": {fakeHasher{digest: Digest{"other", "", "x"}}, ErrInvalid},
		"other key":    {fakeHasher{digest: Digest{"fake", "other", "x"}}, ErrInvalid},
		"no sum":       {fakeHasher{digest: Digest{"fake", "k", ""}}, ErrInvalid},
		"long sum":     {fakeHasher{digest: Digest{"fake", "k", strings.Repeat("x", 129)}}, ErrInvalid},
	} {
		f := newFixture(t, func(o *Options) { o.Hash = c.hasher })
		token, _, err := f.Generate(context.Background(), KeyParams{Owner: "alice"})
		require.ErrorIs(t, err, c.want, name)
		require.True(t, token.IsZero())
		require.Zero(t, f.store.calls.Load())
	}
}

type fakeHasher struct {
	digest Digest
	err    error
}

func (h fakeHasher) Hash(string) (Digest, error) { return h.digest, h.err }
func (h fakeHasher) Verify(string, Digest) bool  { return true }
func (h fakeHasher) Scheme() string              { return "fake" }
func (h fakeHasher) KeyID() string               { return "k" }
func (h fakeHasher) HasKey(kid string) bool      { return kid == "k" }
