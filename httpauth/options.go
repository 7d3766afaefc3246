package httpauth

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"example.com/keystore"
)

// Options configure an Auth. A nil *Options and zero fields mean the defaults.
type Options struct {
	// Realm names what is protected, in challenges: printable ASCII without
	// quotes and backslashes. Default "api".
	Realm string

	// NoBearer ignores the Authorization field altogether.
	NoBearer bool
	// Headers are the fields that may hold a key and nothing else. nil:
	// X-API-Key. Empty and not nil: none.
	Headers []string
	// QueryParameter names a parameter of the URL's query that may hold a key,
	// as it is, without percent-encoding. Default "": none. A key in a URL leaks
	// into logs, histories and referrer fields; give keys that are used so few
	// scopes and a short life.
	QueryParameter string

	// Open lists paths that need no key, for any method. A request's path must be
	// equal to one of them as it was sent: without percent-encoding, "//", dot
	// segments or a slash added. Everything else stays protected.
	Open []string
	// StripCredential removes the credential from the request that the handler
	// gets: its field, or its parameter in URL, RequestURI and Form. Nothing
	// else is changed.
	StripCredential bool

	// Detail tells expired, revoked and disabled keys, and those whose owner is
	// not active, apart, to who presents the right secret. It is the detail of
	// the problem alone that differs.
	Detail bool
	// RetryAfter is sent with 503, in whole seconds, at least one. Default 5 s.
	RetryAfter time.Duration

	// Cost is how much a request spends of the limits of its key: 1 to
	// keystore.MaxCost; 0 counts as 1. It is asked once for each request whose key is
	// looked up, before it is known to be good. What a key's limits never allow is
	// answered 500: a Cost that a client can choose must be bounded. nil: 1.
	Cost func(*http.Request) int64
	// RateLimitFields sends RateLimit and RateLimit-Policy (see the package's
	// comment) also where the request passes. 429 has them in any case.
	RateLimitFields bool
	// LegacyRateLimitFields sends X-RateLimit-Limit, X-RateLimit-Remaining and
	// X-RateLimit-Reset wherever the fields of RateLimitFields are sent.
	LegacyRateLimitFields bool

	// FailuresPerSecond is how many failed attempts a second a client address
	// may go on making once FailureBurst of them are spent. Default 5; negative:
	// nobody is throttled.
	FailuresPerSecond float64
	// FailureBurst is how many failed attempts an address may make at once.
	// Default 50.
	FailureBurst int
	// MaxClients is how many addresses with failures are remembered, about 300
	// bytes each. Default 10 000.
	MaxClients int

	// TrustedProxies are the addresses of reverse proxies whose ForwardedHeader
	// is believed. Default: none.
	TrustedProxies []netip.Prefix
	// TrustUnix believes peers without an address too, which come over a unix
	// socket. Else they count as one client.
	TrustUnix bool
	// ForwardedHeader is the field in which proxies list whom a request came
	// from, each adding on the right. RFC 7239's Forwarded is not understood.
	// Default X-Forwarded-For.
	ForwardedHeader string

	// Logger gets warnings: the store cannot be asked, limits cannot be counted, a
	// scope is malformed, a cost is too high, an address is throttled, a proxy is not
	// trusted. Default: discard.
	Logger *slog.Logger
}

// withDefaults checks the options and returns a copy with every default in place.
func (o *Options) withDefaults() (Options, error) {
	out := Options{}
	if o != nil {
		out = *o
	}
	for _, check := range []func(*Options) error{checkCredentials, checkOpen, checkAnswers, checkThrottle, checkProxies} {
		if err := check(&out); err != nil {
			return out, err
		}
	}
	return out, nil
}

func checkCredentials(o *Options) error {
	if o.Headers == nil {
		o.Headers = []string{"X-API-Key"}
	}
	for i, name := range o.Headers {
		switch {
		case !isToken(name):
			return invalid("Headers", "field name number %d is not one", i+1)
		case strings.EqualFold(name, "Authorization"):
			return invalid("Headers", "Authorization holds a scheme and a key; it is read unless NoBearer is set")
		case slices.ContainsFunc(o.Headers[:i], func(before string) bool { return strings.EqualFold(before, name) }):
			return invalid("Headers", "field name number %d is there twice", i+1)
		}
	}
	if o.NoBearer && len(o.Headers) == 0 && o.QueryParameter == "" {
		return invalid("NoBearer", "no place is left where a key may stand")
	}
	return nil
}

func checkOpen(o *Options) error {
	o.Open = slices.Clone(o.Open)
	for i, p := range o.Open {
		if !strings.HasPrefix(p, "/") || path.Clean(p) != p || !plainPath(p) {
			return invalid("Open", "path number %d is not absolute and clean, without a slash at the end, of [A-Za-z0-9-._~/] alone", i+1)
		}
	}
	return nil
}

func checkAnswers(o *Options) error {
	if o.Realm == "" {
		o.Realm = "api"
	}
	for _, c := range []byte(o.Realm) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return invalid("Realm", "it is not printable ASCII without quotes and backslashes")
		}
	}
	switch {
	case o.RetryAfter == 0:
		o.RetryAfter = 5 * time.Second
	case o.RetryAfter < 0:
		return invalid("RetryAfter", "it is negative")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func checkThrottle(o *Options) error {
	switch {
	case math.IsNaN(o.FailuresPerSecond) || math.IsInf(o.FailuresPerSecond, 0):
		return invalid("FailuresPerSecond", "it is no number")
	case o.FailureBurst < 0:
		return invalid("FailureBurst", "it is negative")
	case o.MaxClients < 0:
		return invalid("MaxClients", "it is negative")
	}
	if o.FailuresPerSecond == 0 {
		o.FailuresPerSecond = 5
	}
	if o.FailureBurst == 0 {
		o.FailureBurst = 50
	}
	if o.MaxClients == 0 {
		o.MaxClients = 10_000
	}
	return nil
}

func checkProxies(o *Options) error {
	o.TrustedProxies = slices.Clone(o.TrustedProxies)
	for i, p := range o.TrustedProxies {
		if !p.IsValid() {
			return invalid("TrustedProxies", "prefix number %d is not valid", i+1)
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 { // addresses are compared unmapped
			o.TrustedProxies[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	if o.ForwardedHeader == "" {
		o.ForwardedHeader = "X-Forwarded-For"
	}
	if !isToken(o.ForwardedHeader) {
		return invalid("ForwardedHeader", "it is no field name")
	}
	o.ForwardedHeader = http.CanonicalHeaderKey(o.ForwardedHeader)
	if o.ForwardedHeader == "Forwarded" {
		return invalid("ForwardedHeader", "the syntax of RFC 7239 is not understood; let the proxy send a list of addresses")
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2, as field names
// are.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func invalid(field, format string, args ...any) error {
	return &keystore.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}
