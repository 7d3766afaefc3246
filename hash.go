package keystore

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// Hasher makes and verifies the digests that are stored in place of secrets.
// It is safe for concurrent use, keeps no token, and prints no key. Verify is
// constant time in the digest, and false for digests of another scheme.
type Hasher interface {
	Hash(token string) (Digest, error)
	Verify(token string, d Digest) bool
	Scheme() string         // [a-z0-9-]{1,32}, for example "sha256"
	KeyID() string          // of new digests: [A-Za-z0-9._-]{0,64}, "" where a scheme has no keys
	HasKey(kid string) bool // whether digests of this key id can be verified
}

const (
	maxSchemeLen = 32
	maxKeyIDLen  = 64
	maxSumLen    = 128 // bytes
	minPepperLen = 32  // bytes: the output length of SHA-256 (RFC 2104, section 3)
)

// Digest is a stored digest of a token, which says how it was made. It is a
// comparable value; the zero Digest is none. A digest is not a token: no lookup
// accepts it.
type Digest struct{ scheme, kid, sum string }

// NewDigest makes a digest from its parts: the scheme and key id as described
// at Hasher, and 1 to 128 bytes. It returns ErrInvalid for others.
func NewDigest(scheme, kid string, sum []byte) (Digest, error) {
	if !validName(scheme, maxSchemeLen, false) || scheme == "" {
		return Digest{}, invalid("digest", "the scheme is not 1 to %d of [a-z0-9-]", maxSchemeLen)
	}
	if !validName(kid, maxKeyIDLen, true) {
		return Digest{}, invalid("digest", "the key id is not at most %d of [A-Za-z0-9._-]", maxKeyIDLen)
	}
	if len(sum) == 0 || len(sum) > maxSumLen {
		return Digest{}, invalid("digest", "the sum has %d bytes, not 1 to %d", len(sum), maxSumLen)
	}
	return Digest{scheme, kid, string(sum)}, nil
}

// ParseDigest reads the text form scheme$kid$base64 (RFC 4648, section 4,
// without padding). Only what String writes is accepted; the rest is ErrInvalid.
func ParseDigest(text string) (Digest, error) {
	parts := strings.Split(text, "$")
	if len(text) > 512 || len(parts) != 3 {
		return Digest{}, invalid("digest", "it is not of the form scheme$kid$base64")
	}
	sum, err := base64.RawStdEncoding.Strict().DecodeString(parts[2])
	if err != nil || strings.ContainsAny(parts[2], "\r\n") {
		return Digest{}, invalid("digest", "its last part is not unpadded base64")
	}
	return NewDigest(parts[0], parts[1], sum)
}

// Scheme returns the name of the scheme, for example "sha256".
func (d Digest) Scheme() string { return d.scheme }

// KeyID returns the id of the key or the parameters within the scheme, or "".
func (d Digest) KeyID() string { return d.kid }

// Sum returns a copy of the bytes.
func (d Digest) Sum() []byte { return []byte(d.sum) }

// IsZero reports whether d is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns the text form scheme$kid$base64, "" for the zero Digest.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return d.scheme + "$" + d.kid + "$" + base64.RawStdEncoding.EncodeToString([]byte(d.sum))
}

// MarshalText returns the text form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// validName reports whether s has at most max characters of [a-z0-9-], or of
// [A-Za-z0-9._-] where all is set.
func validName(s string, max int, all bool) bool {
	for _, c := range []byte(s) {
		lower := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
		if !lower && (!all || !('A' <= c && c <= 'Z' || c == '.' || c == '_')) {
			return false
		}
	}
	return len(s) <= max
}

// sameSum compares in constant time.
func sameSum(a []byte, b string) bool { return subtle.ConstantTimeCompare(a, bytesOf(b)) == 1 }

// SHA256 is the default: one SHA-256 of the whole token. A fast hash is right
// because the secret is 190 random bits, beyond guessing at any speed.
func SHA256() Hasher { return sha256Hasher{} }

type sha256Hasher struct{}

func (sha256Hasher) Hash(token string) (Digest, error) {
	sum := sha256.Sum256(bytesOf(token))
	return Digest{scheme: "sha256", sum: string(sum[:])}, nil
}

func (sha256Hasher) Verify(token string, d Digest) bool {
	if d.scheme != "sha256" || d.kid != "" {
		return false
	}
	sum := sha256.Sum256(bytesOf(token))
	return sameSum(sum[:], d.sum)
}

func (sha256Hasher) Scheme() string         { return "sha256" }
func (sha256Hasher) KeyID() string          { return "" }
func (sha256Hasher) HasKey(kid string) bool { return kid == "" }

// HMAC is HMAC-SHA-256 with a pepper ring: secret keys of at least 32 bytes that
// are kept apart from the store, so that a copy of the store alone does not even
// allow a digest to be checked. New digests are made with ring[current]; every
// key of the ring verifies. The ring is copied. It returns ErrInvalid, naming
// the key id, for a key that is too short or a current key that is not there.
func HMAC(current string, ring map[string][]byte) (Hasher, error) {
	h := &hmacHasher{current: current, ring: make(map[string]*sync.Pool, len(ring))}
	for kid, key := range ring {
		if kid == "" || !validName(kid, maxKeyIDLen, true) {
			return nil, invalid("pepper", "a key id is not 1 to %d of [A-Za-z0-9._-]", maxKeyIDLen)
		}
		if len(key) < minPepperLen {
			if len(kid) >= minPepperLen { // the two were probably swapped
				kid = "with an id of " + strconv.Itoa(len(kid)) + " characters"
			}
			return nil, invalid("pepper", "key %s has %d bytes, fewer than %d", kid, len(key), minPepperLen)
		}
		key := append([]byte(nil), key...)
		h.ring[kid] = &sync.Pool{New: func() any { return &hmacState{mac: hmac.New(sha256.New, key)} }}
	}
	if h.ring[current] == nil {
		return nil, invalid("pepper", "the current key is not in the ring")
	}
	return h, nil
}

// hmacHasher keeps each pepper inside a closure, out of sight of printers. The
// pools save the two hash blocks that setting up a key costs.
type hmacHasher struct {
	current string
	ring    map[string]*sync.Pool
}

// hmacState makes one digest at a time, and has room for it: the compiler cannot
// see that Sum does not keep what it is given.
type hmacState struct {
	mac hash.Hash
	out [sha256.Size]byte
}

// sum returns memory of m, good until the next call.
func (m *hmacState) sum(token string) []byte {
	m.mac.Reset()
	m.mac.Write(bytesOf(token))
	return m.mac.Sum(m.out[:0])
}

func (h *hmacHasher) sum(kid, token string) string {
	m := h.ring[kid].Get().(*hmacState)
	defer h.ring[kid].Put(m)
	return string(m.sum(token))
}

func (h *hmacHasher) Hash(token string) (Digest, error) {
	return Digest{scheme: "hmac-sha256", kid: h.current, sum: h.sum(h.current, token)}, nil
}

func (h *hmacHasher) Verify(token string, d Digest) bool {
	if d.scheme != "hmac-sha256" || !h.HasKey(d.kid) {
		return false
	}
	m := h.ring[d.kid].Get().(*hmacState)
	defer h.ring[d.kid].Put(m)
	return sameSum(m.sum(token), d.sum)
}

func (h *hmacHasher) Scheme() string         { return "hmac-sha256" }
func (h *hmacHasher) KeyID() string          { return h.current }
func (h *hmacHasher) HasKey(kid string) bool { return h.ring[kid] != nil }

func (h *hmacHasher) String() string {
	return fmt.Sprintf("HMAC-SHA-256(current key %s of %d)", h.current, len(h.ring))
}
func (h *hmacHasher) GoString() string              { return h.String() }
func (h *hmacHasher) Format(f fmt.State, verb rune) { formatRedacted(f, verb, h.String()) }
func (h *hmacHasher) LogValue() slog.Value          { return slog.StringValue(h.String()) }
func (h *hmacHasher) MarshalText() ([]byte, error)  { return []byte(h.String()), nil }

// checkPeppers refuses rings that give one key id to different peppers: only one
// of them would be asked, and the tokens of the other refused as wrong.
func checkPeppers(hashers []Hasher) error {
	seen := make(map[string]string) // key id -> the digest it makes of a text
	for _, h := range hashers {
		ring, ok := h.(*hmacHasher)
		if !ok {
			continue
		}
		for kid := range ring.ring {
			sum := ring.sum(kid, "the same text for all")
			if other, known := seen[kid]; known && other != sum {
				return invalid("AcceptHash", "two pepper rings have different keys of one id")
			}
			seen[kid] = sum
		}
	}
	return nil
}
