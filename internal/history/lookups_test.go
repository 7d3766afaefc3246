package history

import (
	"hash/crc32"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/keystore"
)

// Lookup presents any token that was ever issued.
func (w *world) Lookup(t *rapid.T) {
	w.present(t, w.token(t), rapid.SliceOfN(rapid.SampledFrom(required), 0, 2).Draw(t, "required"))
}

// LookupOfAll presents all tokens that were issued.
func (w *world) LookupOfAll(t *rapid.T) {
	var scopes []string
	if chance(t, 2, "for a scope") {
		scopes = []string{rapid.SampledFrom(required).Draw(t, "required")}
	}
	for _, token := range w.tokens {
		w.present(t, token, scopes)
	}
}

func (w *world) present(t *rapid.T, token issued, scopes []string) {
	c := call{op: opLookup, id: token.id, number: token.number, now: w.now, scopes: scopes}
	c.idle = w.idle[w.keys[c.id].owner]
	result, err := w.ks.LookupWith(w.ctx, token.text, keystore.LookupParams{Scopes: c.scopes})
	a := answer{w.refusal(err), viewOf(result.Key), result.Generation}
	if !w.rules.accepts(prefixOf(token.text)) {
		require.Equal(t, answer{verdict: "unknown_prefix"}, a)
		return
	}
	w.judge(t, c, false, a)
	if a.verdict == done {
		w.notes[c.id] = max(w.notes[c.id], w.now)
	}
}

// malformedScope asks for what no key can grant.
func (w *world) malformedScope(t *rapid.T, token issued) {
	scope := rapid.SampledFrom([]string{"", "*", "orders:*", "orders:", ":", "a b", "é", strings.Repeat("s", 129), token.text}).Draw(t, "required")
	_, err := w.ks.Lookup(w.ctx, token.text, "files", scope)
	require.Equal(t, verdict("invalid_scope"), w.refusal(err))
}

// LookupOfGarbage presents what is nearly a token.
func (w *world) LookupOfGarbage(t *rapid.T) {
	token := w.token(t)
	if chance(t, 4, "malformed scope") {
		w.malformedScope(t, token)
		return
	}
	text := token.text
	body := len(text) - checkLen
	kind := rapid.SampledFrom([]string{"cut", "longer", "typing error", "space", "prefix", "secret", "id", "mixed"}).Draw(t, "kind")
	want := verdict("malformed")
	switch at := rapid.IntRange(len(prefixOf(text))+1, body-1).Draw(t, "at"); kind {
	case "cut":
		text = text[:at]
	case "longer":
		text += "0"
	case "typing error":
		text, want = replace(text, at), w.accepted(text, "malformed")
	case "space":
		text += " "
	case "prefix":
		text, want = seal("zz"+text[len(prefixOf(text)):body]), "unknown_prefix"
	case "secret":
		text, want = seal(replace(text[:body], body-1-at%secretLen)), w.stranger(text)
	case "id":
		text, want = seal(replace(text[:body], len(prefixOf(text))+1+at%idLen)), w.accepted(text, "unknown_key")
	case "mixed": // the id of one key with the secret of another
		other := w.token(t)
		if other.id == token.id {
			t.Skip("both are of one key")
		}
		text = seal(text[:body-secretLen] + other.text[len(other.text)-checkLen-secretLen:len(other.text)-checkLen])
		want = w.stranger(text)
	}
	_, err := w.ks.Lookup(w.ctx, text)
	require.Equal(t, want, w.refusal(err), "%s", kind)
}

// refusal is why a lookup was refused.
func (w *world) refusal(err error) verdict {
	v := lookupVerdict(err)
	w.ended[v]++
	return v
}

// stranger is the answer to a wrong secret.
func (w *world) stranger(text string) verdict {
	id := text[len(prefixOf(text))+1:][:idLen]
	if !w.keys[id].present {
		return w.accepted(text, "unknown_key")
	}
	return w.accepted(text, "wrong_secret")
}

func (w *world) accepted(text string, then verdict) verdict {
	if !w.rules.accepts(prefixOf(text)) {
		return "unknown_prefix"
	}
	return then
}

// token draws one that was issued, mostly for a key that is there.
func (w *world) token(t *rapid.T) issued {
	tokens := slices.DeleteFunc(slices.Clone(w.tokens), func(i issued) bool { return !w.keys[i.id].present })
	if len(w.tokens) == 0 {
		t.Skip("no token was issued yet")
	}
	if len(tokens) == 0 || chance(t, 12, "may be of a key that is gone") {
		tokens = w.tokens
	}
	return rapid.SampledFrom(tokens).Draw(t, "token")
}

// The form of a token, by the design.
const (
	base62    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	idLen     = 16
	secretLen = 32
	checkLen  = 6
)

func prefixOf(text string) string { return text[:len(text)-idLen-secretLen-checkLen-1] }

// seal ends a text with the checksum of a token.
func seal(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var digits []byte
	for range checkLen {
		digits = append(digits, base62[sum%62])
		sum /= 62
	}
	slices.Reverse(digits)
	return text + string(digits)
}

// replace puts another character of the alphabet at one place.
func replace(text string, at int) string {
	next := (strings.IndexByte(base62, text[at]) + 1) % len(base62)
	return text[:at] + base62[next:next+1] + text[at+1:]
}
