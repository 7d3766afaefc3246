package keystore

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"runtime"
	"strconv"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// slowHasher is a hasher that takes milliseconds and, with Argon2id, megabytes:
// at most GOMAXPROCS of them run at once in the process, so that a flood of
// wrong secrets for a known id cannot take all of its CPUs and memory.
type slowHasher interface {
	Hasher
	hash(token string) (Digest, error)
	verify(token string, d Digest) bool
}

var slowSlots = make(chan struct{}, runtime.GOMAXPROCS(0))

func acquireSlow(ctx context.Context) error {
	select {
	case slowSlots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hashWith and verifyWith run a hasher; the wait for a slow one ends with ctx.
func hashWith(ctx context.Context, h Hasher, token string) (Digest, error) {
	slow, ok := h.(slowHasher)
	if !ok {
		return h.Hash(token)
	}
	if err := acquireSlow(ctx); err != nil {
		return Digest{}, err
	}
	defer func() { <-slowSlots }()
	return slow.hash(token)
}

func verifyWith(ctx context.Context, h Hasher, token string, d Digest) (bool, error) {
	slow, ok := h.(slowHasher)
	if !ok {
		return h.Verify(token, d), nil
	}
	if err := acquireSlow(ctx); err != nil {
		return false, err
	}
	defer func() { <-slowSlots }()
	return slow.verify(token, d), nil
}

// Bcrypt is for sites whose policy asks for a slow hash; with 190 random bits in
// the secret it adds cost and no safety. The cost is 4 to 31 (each step doubles
// the time; 10 takes tens of milliseconds) and is the key id of its digests, so
// that Options.Rehash moves keys to a new cost. It returns ErrInvalid for others.
func Bcrypt(cost int) (Hasher, error) {
	if cost < bcrypt.MinCost || cost > bcrypt.MaxCost {
		return nil, invalid("cost", "%d is not in %d..%d", cost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	return bcryptHasher{cost}, nil
}

const bcryptLen = 60 // of its text form; the library ignores what follows

type bcryptHasher struct{ cost int }

func (h bcryptHasher) hash(token string) (Digest, error) {
	sum, err := bcrypt.GenerateFromPassword([]byte(token), h.cost)
	if err != nil {
		return Digest{}, fmt.Errorf("keystore: bcrypt: %w", err)
	}
	return Digest{h.Scheme(), h.KeyID(), string(sum)}, nil
}

func (h bcryptHasher) verify(token string, d Digest) bool {
	if d.scheme != h.Scheme() || len(d.sum) != bcryptLen || len(token) > maxTokenLen {
		return false
	}
	// The cost that counts is the one inside the sum: it must be the one named.
	if cost, err := bcrypt.Cost([]byte(d.sum)); err != nil || strconv.Itoa(cost) != d.kid {
		return false
	}
	return bcrypt.CompareHashAndPassword([]byte(d.sum), []byte(token)) == nil
}

func (h bcryptHasher) Hash(token string) (Digest, error) { return gatedHash(h, token) }
func (h bcryptHasher) Verify(token string, d Digest) bool {
	return gatedVerify(h, token, d)
}
func (h bcryptHasher) Scheme() string { return "bcrypt" }
func (h bcryptHasher) KeyID() string  { return strconv.Itoa(h.cost) }
func (h bcryptHasher) HasKey(kid string) bool {
	cost, err := strconv.Atoi(kid)
	return err == nil && strconv.Itoa(cost) == kid && cost >= bcrypt.MinCost && cost <= bcrypt.MaxCost
}

// Argon2Params are the costs of Argon2id. Zero fields take the values of the
// second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
type Argon2Params struct {
	Memory  uint32 // KiB, 8 times Threads to 1 GiB
	Time    uint32 // passes, 1..64
	Threads uint8  // lanes, 1..64
}

func (p Argon2Params) valid() bool {
	return p.Time >= 1 && p.Time <= 64 && p.Threads >= 1 && p.Threads <= 64 &&
		p.Memory >= 8*uint32(p.Threads) && p.Memory <= 1<<20
}

func (p Argon2Params) keyID() string { return fmt.Sprintf("m%dt%dp%d", p.Memory, p.Time, p.Threads) }

func parseArgon2(kid string) (p Argon2Params, ok bool) {
	_, err := fmt.Sscanf(kid, "m%dt%dp%d", &p.Memory, &p.Time, &p.Threads)
	return p, err == nil && p.valid() && p.keyID() == kid
}

// Argon2id is for sites whose policy asks for a memory-hard hash; see Bcrypt. The
// parameters are the key id of its digests. It returns ErrInvalid for parameters
// outside the limits of Argon2Params.
func Argon2id(p Argon2Params) (Hasher, error) {
	if p.Memory == 0 {
		p.Memory = 64 << 10
	}
	if p.Time == 0 {
		p.Time = 3
	}
	if p.Threads == 0 {
		p.Threads = 4
	}
	if !p.valid() {
		return nil, invalid("argon2", "memory %d KiB, time %d, threads %d are outside the limits", p.Memory, p.Time, p.Threads)
	}
	return argon2Hasher{p}, nil
}

const (
	argon2Salt = 16 // bytes, RFC 9106, section 4
	argon2Key  = 32 // bytes
)

type argon2Hasher struct{ params Argon2Params }

func argon2Sum(p Argon2Params, token, salt string) []byte {
	return argon2.IDKey([]byte(token), []byte(salt), p.Time, p.Memory, p.Threads, argon2Key)
}

func (h argon2Hasher) hash(token string) (Digest, error) {
	salt := make([]byte, argon2Salt)
	if _, err := io.ReadFull(rand.Reader, salt); err != nil {
		return Digest{}, fmt.Errorf("keystore: the system's random source failed: %w", err)
	}
	return Digest{h.Scheme(), h.KeyID(), string(salt) + string(argon2Sum(h.params, token, string(salt)))}, nil
}

func (h argon2Hasher) verify(token string, d Digest) bool {
	p, ok := parseArgon2(d.kid)
	if d.scheme != h.Scheme() || !ok || len(d.sum) != argon2Salt+argon2Key {
		return false
	}
	return sameSum(argon2Sum(p, token, d.sum[:argon2Salt]), d.sum[argon2Salt:])
}

func (h argon2Hasher) Hash(token string) (Digest, error)  { return gatedHash(h, token) }
func (h argon2Hasher) Verify(token string, d Digest) bool { return gatedVerify(h, token, d) }
func (h argon2Hasher) Scheme() string                     { return "argon2id" }
func (h argon2Hasher) KeyID() string                      { return h.params.keyID() }
func (h argon2Hasher) HasKey(kid string) bool             { _, ok := parseArgon2(kid); return ok }

func gatedHash(h slowHasher, token string) (Digest, error) {
	return hashWith(context.Background(), h, token)
}

func gatedVerify(h slowHasher, token string, d Digest) bool {
	ok, _ := verifyWith(context.Background(), h, token, d) // Background never ends the wait
	return ok
}
