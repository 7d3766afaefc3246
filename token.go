package keystore

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"regexp"
	"time"
	"unsafe"
)

// A token is <prefix>_<id><secret><checksum>: see the package documentation.
const (
	alphabet    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" // base62, in ASCII order
	timeLen     = 8                                                                // of the id: Unix milliseconds
	idLen       = 16
	secretLen   = 32 // 32 * log2(62) = 190 bits
	checkLen    = 6  // 62^6 > 2^32
	bodyLen     = idLen + secretLen + checkLen
	maxPrefix   = 16
	maxTokenLen = maxPrefix + 1 + bodyLen // 71: within the 72 bytes that bcrypt takes
)

var inAlphabet = func() (in [256]bool) {
	for i := range len(alphabet) {
		in[alphabet[i]] = true
	}
	return in
}()

// Token is the full text of an API key, which only Generate and Rotate return.
// Everything that prints, logs or encodes it shows the public part alone; only
// Reveal gives the secret. The zero Token is no token. Tokens are safe for
// concurrent use.
type Token struct{ t *tokenText }

// tokenText keeps the secret inside a closure, because printers that follow
// pointers by reflection cannot look into one.
type tokenText struct {
	id, shown string
	reveal    func() string
}

// newToken draws the secret of a key. Its text is good for a Lookup at once.
func newToken(prefix, id string) (Token, error) {
	secret, err := randomText(secretLen)
	if err != nil {
		return Token{}, err
	}
	text := prefix + "_" + id + secret
	text += checksum(text)
	return Token{&tokenText{id: id, shown: prefix + "_" + id + "…", reveal: func() string { return text }}}, nil
}

// Reveal returns the token itself, to be shown once to whoever will use it.
func (t Token) Reveal() string {
	if t.t == nil {
		return ""
	}
	return t.t.reveal()
}

// ID returns the public id of the key, "" for the zero Token.
func (t Token) ID() string {
	if t.t == nil {
		return ""
	}
	return t.t.id
}

// IsZero reports whether t is no token.
func (t Token) IsZero() bool { return t.t == nil }

// String returns the prefix and the id, without the secret.
func (t Token) String() string {
	if t.t == nil {
		return ""
	}
	return t.t.shown
}

// GoString redacts like String.
func (t Token) GoString() string { return t.String() }

// Format redacts like String, whatever the verb.
func (t Token) Format(f fmt.State, verb rune) { formatRedacted(f, verb, t.String()) }

// LogValue redacts like String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText redacts like String; encoding/json uses it too.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// formatRedacted writes the text that stands for a secret, in the form that the
// verb asks for where it makes sense of a string.
func formatRedacted(f fmt.State, verb rune, text string) {
	switch verb {
	case 's', 'q', 'x', 'X':
		fmt.Fprintf(f, fmt.FormatString(f, verb), text)
	default:
		io.WriteString(f, text)
	}
}

// Pattern returns a regular expression (RE2 syntax) that finds the tokens of a
// prefix in text, for secret scanners. It matches whatever stands before a token,
// since escapes such as \n and %3D end in letters.
func Pattern(prefix string) string {
	return fmt.Sprintf(`%s_[0-9A-Za-z]{%d}\b`, regexp.QuoteMeta(prefix), bodyLen)
}

// splitToken cuts a token into its parts from the right, by their fixed
// lengths. It checks length and alphabet, but neither prefix nor checksum.
func splitToken(token string) (prefix, id string, ok bool) {
	if len(token) > maxTokenLen || len(token) < bodyLen+2 {
		return "", "", false
	}
	body := len(token) - bodyLen
	if token[body-1] != '_' {
		return "", "", false
	}
	for i := body; i < len(token); i++ {
		if !inAlphabet[token[i]] {
			return "", "", false
		}
	}
	return token[:body-1], token[body : body+idLen], true
}

// checksumMatches reports whether the last characters of a token that
// splitToken accepted are the checksum of the others. It catches typing errors
// and saves a backend call; it authenticates nothing.
func checksumMatches(token string) bool {
	end := len(token) - checkLen
	sum := crc32.ChecksumIEEE(bytesOf(token[:end]))
	for i := len(token) - 1; i >= end; i-- {
		if token[i] != alphabet[sum%62] {
			return false
		}
		sum /= 62
	}
	return true
}

func checksum(text string) string {
	var out [checkLen]byte
	putBase62(out[:], uint64(crc32.ChecksumIEEE([]byte(text))))
	return string(out[:])
}

// newID makes a key id that sorts by creation: the time, then 47 random bits.
func newID(now time.Time) (string, error) {
	if err := checkClock(now); err != nil {
		return "", err
	}
	random, err := randomText(idLen - timeLen)
	if err != nil {
		return "", err
	}
	var out [timeLen]byte
	putBase62(out[:], uint64(now.UnixMilli()))
	return string(out[:]) + random, nil
}

// validID reports whether id can be the id of a key.
func validID(id string) bool {
	if len(id) != idLen {
		return false
	}
	for i := range len(id) {
		if !inAlphabet[id[i]] {
			return false
		}
	}
	return true
}

// validPrefix reports whether p is [a-z][a-z0-9_]*, of at most 16 characters
// and not ending in "_".
func validPrefix(p string) bool {
	if p == "" || len(p) > maxPrefix || p[0] < 'a' || p[0] > 'z' || p[len(p)-1] == '_' {
		return false
	}
	for _, c := range []byte(p) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

// putBase62 writes n right-aligned into out, padded with "0".
func putBase62(out []byte, n uint64) {
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = alphabet[n%62]
		n /= 62
	}
}

// randomText returns n uniform base62 characters from crypto/rand. Bytes of 248
// and more are drawn anew, because 256 is no multiple of 62.
func randomText(n int) (string, error) {
	out := make([]byte, 0, n)
	var draw [48]byte
	for len(out) < n {
		if _, err := io.ReadFull(rand.Reader, draw[:]); err != nil {
			return "", fmt.Errorf("keystore: the system's random source failed: %w", err)
		}
		for _, b := range draw {
			if b < 4*62 && len(out) < n {
				out = append(out, alphabet[b%62])
			}
		}
	}
	return string(out), nil
}

// bytesOf views a string as bytes that must not be written to. A conversion
// would allocate on each lookup, since the compiler cannot see that the hash
// functions keep nothing.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
