package httpauth

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// otherToken has a good checksum, and no store has its key.
var otherToken = checksummed("sk_test_" + strings.Repeat("0", 48))

// Case 51: every answer, word for word.
func TestAnswers(t *testing.T) {
	s := newService(t, nil)
	ctx := t.Context()
	token, key := s.generate(keystore.KeyParams{Scopes: []string{"orders:read"}})
	past, pastKey := s.generate(keystore.KeyParams{})
	_, err := s.ks.Expire(ctx, pastKey.ID, time.Now())
	require.NoError(t, err)
	keyOnly := &Options{NoBearer: true, Headers: []string{"X-Key", "x-other"}, Realm: "My API, v1"}
	query := &Options{NoBearer: true, Headers: []string{}, QueryParameter: "key"}

	for _, c := range []struct {
		name, challenge, retry, body string
		status                       int
		options                      *Options
		fields                       []string
		scopes                       []string
		method                       string
		outage                       error
	}{
		{name: "no credentials", status: 401, challenge: `Bearer realm="api"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This needs an API key, as Authorization: Bearer or in the header X-API-Key.","code":"missing_credentials"}`},
		{name: "no credentials, where only headers count", options: keyOnly, status: 401, challenge: `ApiKey realm="My API, v1"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This needs an API key, in the header X-Key or in the header x-other.","code":"missing_credentials"}`},
		{name: "no credentials, where only the query counts", options: query, status: 401, challenge: `ApiKey realm="api"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This needs an API key, in the query parameter key.","code":"missing_credentials"}`},
		{name: "another scheme", fields: []string{"Authorization: Basic dTpw"}, status: 401, challenge: `Bearer realm="api"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This needs an API key, as Authorization: Bearer or in the header X-API-Key.","code":"missing_credentials"}`},
		{name: "not valid", fields: []string{"X-API-Key: " + otherToken}, status: 401, challenge: `Bearer realm="api", error="invalid_token"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The API key is not valid.","code":"invalid_token"}`},
		{name: "not valid, where only headers count", options: keyOnly, fields: []string{"X-Key: " + otherToken}, status: 401, challenge: `ApiKey realm="My API, v1", error="invalid_token"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The API key is not valid.","code":"invalid_token"}`},
		{name: "expired", fields: []string{"X-API-Key: " + past}, status: 401, challenge: `Bearer realm="api", error="invalid_token"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The API key is not valid.","code":"invalid_token"}`},
		{name: "expired, in detail", options: &Options{Detail: true}, fields: []string{"X-API-Key: " + past}, status: 401, challenge: `Bearer realm="api", error="invalid_token"`,
			body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The API key has expired.","code":"invalid_token"}`},
		{name: "two", fields: []string{"X-API-Key: a", "X-API-Key: b"}, status: 400, challenge: `Bearer realm="api", error="invalid_request"`,
			body: `{"type":"about:blank","title":"Bad Request","status":400,"detail":"The request carries more than one credential. Send one.","code":"invalid_request"}`},
		{name: "empty", fields: []string{"X-API-Key:"}, status: 400, challenge: `Bearer realm="api", error="invalid_request"`,
			body: `{"type":"about:blank","title":"Bad Request","status":400,"detail":"The credential is empty.","code":"invalid_request"}`},
		{name: "joined", fields: []string{"X-API-Key: a, b"}, status: 400, challenge: `Bearer realm="api", error="invalid_request"`,
			body: `{"type":"about:blank","title":"Bad Request","status":400,"detail":"The credential holds a comma. Send one API key.","code":"invalid_request"}`},
		{name: "a scope is missing", fields: []string{"X-API-Key: " + token}, scopes: []string{"orders:read", "orders:write", "users:read"}, status: 403,
			challenge: `Bearer realm="api", error="insufficient_scope", scope="orders:write users:read"`,
			body:      `{"type":"about:blank","title":"Forbidden","status":403,"detail":"The API key lacks a scope that this needs: orders:write, users:read.","code":"insufficient_scope","missing_scopes":["orders:write","users:read"]}`},
		{name: "HEAD", method: "HEAD", status: 401, challenge: `Bearer realm="api"`},
		{name: "outage", fields: []string{"X-API-Key: " + token}, outage: errors.New("no route to host"), status: 503, retry: "5",
			body: `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The API key cannot be checked at present. Try again later.","code":"unavailable"}`},
		{name: "outage, RetryAfter", options: &Options{RetryAfter: 1100 * time.Millisecond}, fields: []string{"X-API-Key: " + token}, outage: errors.New("no route to host"), status: 503, retry: "2",
			body: `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The API key cannot be checked at present. Try again later.","code":"unavailable"}`},
		{name: "misconfigured", fields: []string{"X-API-Key: " + token}, scopes: []string{"orders:*"}, status: 500,
			body: `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"The server asks for a scope that no key can have.","code":"misconfigured"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.another(c.options)
			if c.outage != nil {
				s.set(c.outage, time.Hour) // nothing of the cache counts any more
				defer s.set(nil, 0)
			}
			r := newRequest("/", c.fields...)
			if c.method != "" {
				r.Method = c.method
			}
			result, err := a.Check(r, c.scopes...)
			require.Error(t, err)
			assert.Zero(t, result)
			var failure *Failure
			require.ErrorAs(t, err, &failure)
			w := httptest.NewRecorder()
			a.Refuse(w, r, fmt.Errorf("asked by the test: %w", err))

			assert.Equal(t, c.status, w.Code)
			want := http.Header{"Cache-Control": {"no-store"}, "Content-Type": {"application/problem+json"}}
			if c.challenge != "" {
				want["Www-Authenticate"] = []string{c.challenge}
			}
			if c.retry != "" {
				want["Retry-After"] = []string{c.retry}
			}
			assert.Equal(t, want, w.Header())
			if c.body != "" {
				c.body += "\n"
			}
			assert.Equal(t, c.body, w.Body.String())
		})
	}
	assert.Contains(t, s.log.String(), "status=500", "a fault of the program is logged")
	assert.Contains(t, s.log.String(), "no route to host", "an outage is logged")
	assert.NotContains(t, s.log.String(), key.Owner)
}

func TestRefuseWithOtherErrors(t *testing.T) {
	s := newService(t, nil)
	for err, want := range map[error]int{
		keystore.ErrRevoked:                               401,
		&keystore.ScopeError{Missing: []string{"a"}}:      403,
		keystore.ErrClosed:                                503,
		keystore.ErrCorrupt:                               503,
		keystore.ErrUnknownOutcome:                        503,
		fmt.Errorf("asked: %w", keystore.ErrUnavailable):  503,
		errors.New("something else"):                      503,
		&Failure{}:                                        503,
		&Failure{Status: 200}:                             503,
		&keystore.FieldError{Field: "scope", Problem: ""}: 500,
	} {
		w := httptest.NewRecorder()
		s.Refuse(w, newRequest("/"), err)
		assert.Equal(t, want, w.Code, "%v", err)
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Length", "7") // of the answer that would have been
	s.Refuse(w, newRequest("/"), nil)
	assert.Equal(t, 503, w.Code, "no error at all is no success")
	assert.Empty(t, w.Header().Get("Content-Length"))
}

// Case 43: a caller cannot tell one bad key from another, byte for byte.
func TestOneAnswerForAll(t *testing.T) {
	var inactive string
	s := newService(t, &Options{FailuresPerSecond: -1}, uncached, func(o *keystore.Options) {
		o.OwnerActive = func(_ context.Context, owner string) (bool, error) { return owner != inactive, nil }
	})
	ctx := t.Context()
	server := httptest.NewServer(s.Require("orders:read")(greet))
	defer server.Close()
	answer := func(token string) string {
		raw := exchange(t, server.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nConnection: close\r\n\r\n")
		return regexp.MustCompile(`Date: [^\r]*\r\n`).ReplaceAllString(raw, "")
	}

	bad := map[string]string{"malformed": "x", "other prefix": strings.Replace(s.key(), "sk_test", "sk_live", 1), "unknown": otherToken}
	make := func(why string, p keystore.KeyParams, change func(id string) error) {
		p.Scopes = []string{"orders:read"}
		token, key := s.generate(p)
		require.Contains(t, answer(token), "200 OK", why)
		require.NoError(t, change(key.ID), why)
		bad[why] = token
	}
	make("revoked", keystore.KeyParams{}, func(id string) error { _, err := s.ks.Revoke(ctx, id, "stolen"); return err })
	make("expired", keystore.KeyParams{}, func(id string) error { _, err := s.ks.Expire(ctx, id, time.Now()); return err })
	make("deleted", keystore.KeyParams{}, func(id string) error { return s.ks.Delete(ctx, id) })
	make("superseded", keystore.KeyParams{}, func(id string) error { _, _, err := s.ks.Rotate(ctx, id, 0, nil); return err })
	make("disabled", keystore.KeyParams{}, func(id string) error {
		_, err := s.ks.Update(ctx, id, func(c *keystore.Changes) error { c.Disabled = true; return nil })
		return err
	})
	make("owner inactive", keystore.KeyParams{Owner: "bob"}, func(string) error { inactive = "bob"; return nil })
	token, _ := s.generate(keystore.KeyParams{Scopes: []string{"orders:read"}})
	other, _ := s.generate(keystore.KeyParams{})
	bad["wrong secret"] = withSecretOf(token, other)

	want := answer("x")
	require.Contains(t, want, "401 Unauthorized")
	for why, token := range bad {
		_, err := s.Check(newRequest("/", "X-API-Key: "+token))
		require.ErrorIs(t, err, keystore.ErrUnauthenticated, why)
		assert.Equal(t, want, answer(token), why)
	}

	// With Detail, who holds the secret learns more, and nobody else does.
	details := map[string]string{}
	detailed := s.another(&Options{Detail: true, FailuresPerSecond: -1}).Require()(greet)
	for why, token := range bad {
		w := with(detailed, token)
		assert.Equal(t, 401, w.Code)
		details[why] = regexp.MustCompile(`"detail":"([^"]*)"`).FindStringSubmatch(w.Body.String())[1]
	}
	assert.Equal(t, map[string]string{
		"malformed": "The API key is not valid.", "other prefix": "The API key is not valid.", "unknown": "The API key is not valid.",
		"deleted": "The API key is not valid.", "wrong secret": "The API key is not valid.", "revoked": "The API key has been revoked.",
		"expired": "The API key has expired.", "superseded": "A newer secret has replaced this API key.", "disabled": "The API key is disabled.",
		"owner inactive": "The owner of the API key is not active.",
	}, details)
}

// Case 42.
func TestChecksumIsNoProof(t *testing.T) {
	s := newService(t, nil, uncached)
	h := s.Require()(greet)
	assert.Equal(t, 401, with(h, otherToken).Code)
	assert.Equal(t, 1, s.calls(), "otherToken must have a good checksum, or this test shows nothing")
	assert.Equal(t, 401, with(h, otherToken[:len(otherToken)-1]+"0").Code)
	assert.Equal(t, 1, s.calls(), "a checksum that does not match is enough to refuse")
}

// Case 44, as far as it can be seen from here.
func TestWrongSecretOfACachedKey(t *testing.T) {
	s := newService(t, nil)
	h := s.Require()(greet)
	token, other := s.key(), s.key()
	require.Equal(t, 200, with(h, token).Code)
	assert.Equal(t, 401, with(h, withSecretOf(token, other)).Code)
	assert.Equal(t, 200, with(h, token).Code)
}

// Case 45.
func TestScopesMatchWhole(t *testing.T) {
	s := newService(t, nil)
	for _, c := range []struct {
		granted, required string
		want              int
	}{
		{"read", "read", 200}, {"read", "readwrite", 403}, {"readwrite", "read", 403}, {"a:b", "a:bc", 403}, {"a:bc", "a:b", 403}, {"a:b", "a", 403}, {"a", "a:b", 403},
		{"a:*", "a:b", 200}, {"a:*", "a:b:c", 200}, {"a:*", "a", 403}, {"a:*", "ab:c", 403}, {"*", "a:b", 200}, {"*", "keystore:admin", 403}, {"Read", "read", 403},
	} {
		assert.Equal(t, c.want, with(s.Require(c.required)(greet), s.key(c.granted)).Code, "%v", c)
	}
	empty := s.key()
	assert.Equal(t, 403, with(s.Require("read")(greet), empty).Code)
	assert.Equal(t, 200, with(s.Require()(greet), empty).Code)
	assert.Equal(t, 403, with(s.Require("a:b", "a:c")(greet), s.key("a:b")).Code, "all are required")
}

// Case 47: at the latest when the bound on staleness has passed.
func TestOwnerAndScopesChange(t *testing.T) {
	active := true
	s := newService(t, nil, func(o *keystore.Options) {
		o.OwnerActive = func(context.Context, string) (bool, error) { return active, nil }
	})
	token, key := s.generate(keystore.KeyParams{Scopes: []string{"a", "b"}})
	h := s.Require("a")(greet)
	require.Equal(t, 200, with(h, token).Code)
	_, err := s.ks.Update(t.Context(), key.ID, func(c *keystore.Changes) error { c.Scopes = []string{"b"}; return nil })
	require.NoError(t, err)
	assert.Equal(t, 403, with(h, token).Code)
	h = s.Require("b")(greet)
	require.Equal(t, 200, with(h, token).Code)
	active = false
	s.set(nil, 6*time.Second) // CacheTTL is 5
	assert.Equal(t, 401, with(h, token).Code)
}

// Case 51: an outage is never an answer about the key.
func TestOutageIs503(t *testing.T) {
	var ownerError error
	s := newService(t, nil, uncached, func(o *keystore.Options) {
		o.OwnerActive = func(context.Context, string) (bool, error) { return true, ownerError }
	})
	token := s.key()
	h := s.Require()(greet)
	require.Equal(t, 200, with(h, token).Code)

	for _, outage := range []error{errors.New("connection refused"), context.DeadlineExceeded, context.Canceled, keystore.ErrUnauthenticated, keystore.ErrMissingScope, keystore.ErrInvalid} {
		s.set(outage, 0)
		for _, text := range []string{token, otherToken} {
			w := with(h, text)
			assert.Equal(t, 503, w.Code, "%v", outage)
			assert.Equal(t, "5", w.Header().Get("Retry-After"))
			assert.Empty(t, w.Header().Get("WWW-Authenticate"))
		}
	}
	s.set(nil, 0)
	ownerError = keystore.ErrUnauthenticated
	assert.Equal(t, 503, with(h, token).Code, "OwnerActive failed")
	ownerError = nil

	fresh := newService(t, nil, uncached) // that has logged nothing yet
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w := serve(fresh.Require()(greet), newRequest("/", "X-API-Key: "+fresh.key()).WithContext(gone))
	assert.Equal(t, 503, w.Code, "a client that went away")
	assert.Empty(t, fresh.log.String(), "a client that went away is nothing to log")

	require.NoError(t, s.ks.Close())
	assert.Equal(t, 503, with(h, token).Code, "closed")
}

func TestOutagesAreLoggedOnceASecond(t *testing.T) {
	s := newService(t, nil, uncached)
	token := s.key()
	s.set(errors.New("connection refused"), 0)
	h := s.Require()(greet)
	began := time.Now()
	for range 100 {
		require.Equal(t, 503, with(h, token).Code)
	}
	lines := strings.Count(s.log.String(), "connection refused")
	assert.GreaterOrEqual(t, lines, 1)
	assert.LessOrEqual(t, lines, 1+int(time.Since(began)/time.Second))
}

// Case 51: what cannot be quoted is no realm.
func TestRealmCannotInject(t *testing.T) {
	s := newService(t, nil)
	for _, realm := range []string{`a"`, `a\`, "a\r\nX: y", "a\nb", "a\x00", "a\tb", "café", "a\x7f", `", error="x`} {
		_, err := New(s.ks, &Options{Realm: realm})
		assert.ErrorIs(t, err, keystore.ErrInvalid, "%q", realm)
	}
	for c := byte(' '); c <= '~'; c++ {
		if c != '"' && c != '\\' {
			assert.Equal(t, `Bearer realm="`+string(c)+`"`, with(s.another(&Options{Realm: string(c)}).Require()(greet), "").Header().Get("WWW-Authenticate")[:16], "%q", c)
		}
	}
}

// withSecretOf is the first token with the secret of the other, and the checksum
// that belongs to them.
func withSecretOf(token, other string) string {
	const body, id, check = 54, 16, 6
	cut := len(token) - body + id
	return checksummed(token[:cut] + other[cut:len(other)-check])
}

func checksummed(text string) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := crc32.ChecksumIEEE([]byte(text))
	digits := ""
	for range 6 {
		digits, sum = string(alphabet[sum%62])+digits, sum/62
	}
	return text + digits
}
