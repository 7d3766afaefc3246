package stores

import (
	"crypto/rand"
	"hash/crc32"
)

// A token ends in an id, a secret and a checksum; see section 2 of docs/design.md.
const (
	idLen       = 16
	secretLen   = 32
	checksumLen = 6
	tailLen     = idLen + secretLen + checksumLen
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ID is the id of the key that a token is for.
func ID(token string) string { return token[len(token)-tailLen:][:idLen] }

// IDs are those of tokens, in the same order.
func IDs(tokens []string) []string {
	ids := make([]string, len(tokens))
	for i, token := range tokens {
		ids[i] = ID(token)
	}
	return ids
}

// WrongSecret returns a token for the same key that is well formed and wrong.
func WrongSecret(token string) string {
	begin := len(token) - secretLen - checksumLen
	return withChecksum(token[:begin] + random(secretLen))
}

// Unknown returns a token that is well formed and for a key that does not exist,
// made at the same time as that of the token given.
func Unknown(token string) string {
	begin := len(token) - tailLen
	return withChecksum(token[:begin+idLen/2] + random(idLen/2+secretLen))
}

// Malformed returns the token with a checksum that does not fit: of all that is
// no token the last to be found out.
func Malformed(token string) string {
	last := "0"
	if token[len(token)-1] == '0' {
		last = "1"
	}
	return token[:len(token)-1] + last
}

func withChecksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	digits := make([]byte, checksumLen)
	for i := range digits {
		digits[checksumLen-1-i] = base62[sum%62]
		sum /= 62
	}
	return body + string(digits)
}

func random(n int) string {
	text := make([]byte, n)
	_, _ = rand.Read(text) // never fails
	for i, b := range text {
		text[i] = base62[b%62] // a bias does not matter here
	}
	return string(text)
}
