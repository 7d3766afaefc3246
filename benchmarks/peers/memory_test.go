package peers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	"github.com/go-oauth2/oauth2/v4/store"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"example.com/keystore/benchmarks/internal/stores"
)

// BenchmarkMemory compares lookups, on the memory backend, with peers that ask no
// server.
func BenchmarkMemory(b *testing.B) {
	s := stores.Open(b, "memory", keys)
	defer s.Close()
	compare(b, s, "peer=jwt-hs256", signedTokens(b), 1, 128)
	compare(b, s, "peer=go-oauth2", oauthTokens(b), 1, 128)
	for _, n := range []int{1, 10, 100} {
		compare(b, s, fmt.Sprintf("peer=bcrypt-scan/keys=%d", n), bcryptScan(b, s.Tokens[:n]), 1)
	}
}

// bcryptScan is how common tutorials look up a key: only bcrypt digests are stored,
// none of which says whose it is, so the token is compared with one after another
// until one matches. It looks up the key in the middle, which takes as long as the
// average key does; a wrong token takes twice that.
//
// It keeps no token. A key is revoked by removing it.
func bcryptScan(b *testing.B, tokens []string) func(i int) error {
	b.Helper()
	digests := make([][]byte, len(tokens))
	must(b, stores.AtOnce(len(tokens), func(i int) (err error) {
		digests[i], err = bcrypt.GenerateFromPassword([]byte(tokens[i]), bcrypt.DefaultCost)
		return err
	}))
	token := []byte(tokens[(len(tokens)-1)/2])
	return func(int) error {
		for _, digest := range digests {
			if bcrypt.CompareHashAndPassword(digest, token) == nil {
				return nil
			}
		}
		return errRefused
	}
}

// signedTokens checks tokens that hold what they are good for, signed with
// HMAC-SHA-256, by golang-jwt: there is no store.
//
// Nothing can be revoked before it expires, unless there is a store after all that
// is asked each time. Whoever has the key of the HMAC makes tokens.
func signedTokens(b *testing.B) func(i int) error {
	b.Helper()
	type claims struct {
		Scopes []string `json:"scopes"`
		jwt.RegisteredClaims
	}
	secret := []byte("an HMAC key that has 32 bytes....")
	tokens := make([]string, keys)
	for i := range tokens {
		p := stores.Params(stores.Owner(i, keys))
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{p.Scopes, jwt.RegisteredClaims{
			Subject: p.Owner, ID: p.Name, ExpiresAt: jwt.NewNumericDate(time.Now().Add(p.TTL)),
		}})
		var err error
		tokens[i], err = token.SignedString(secret)
		must(b, err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	keyFunc := func(*jwt.Token) (any, error) { return secret, nil }
	return func(i int) error {
		var c claims
		_, err := parser.ParseWithClaims(tokens[i%keys], &c, keyFunc)
		if err == nil && !slices.Contains(c.Scopes, "invoices:read") {
			err = errRefused
		}
		return err
	}
}

// oauthTokens loads access tokens of go-oauth2/oauth2 from its store in memory, which
// is buntdb: the token leads to an id and that to JSON.
//
// It keeps tokens as they are. A token that is removed is refused at once. Scopes are
// a string that it leaves to the program.
func oauthTokens(b *testing.B) func(i int) error {
	b.Helper()
	tokens, err := store.NewMemoryTokenStore()
	must(b, err)
	manager := manage.NewManager()
	manager.MapTokenStorage(tokens)
	access := make([]string, keys)
	for i := range access {
		p := stores.Params(stores.Owner(i, keys))
		access[i] = fmt.Sprintf("%048d", i) // as long as those that it makes itself
		must(b, tokens.Create(ctx, &models.Token{
			ClientID: p.Name, UserID: p.Owner, Scope: strings.Join(p.Scopes, " "),
			Access: access[i], AccessCreateAt: time.Now(), AccessExpiresIn: p.TTL,
		}))
	}
	return func(i int) error {
		info, err := manager.LoadAccessToken(ctx, access[i%keys])
		if err == nil && !strings.Contains(info.GetScope(), "invoices:read") {
			err = errRefused
		}
		return err
	}
}
