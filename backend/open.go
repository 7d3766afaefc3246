package backend

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
)

// OpenOptions are what a driver's OpenFunc gets beside the URL. nil and zero
// values mean defaults.
type OpenOptions struct {
	Logger *slog.Logger // default: discard
	TLS    *tls.Config  // for drivers that connect to a server; default: the driver's
}

// OpenFunc opens the backend that rawURL names. ctx bounds the opening, not the
// life of the backend. The URL comes as it was given: a driver may hand it to
// its library's own parser. No error may hold any part of the URL but its
// scheme; a URL that can never be opened is [ErrInvalidURL].
type OpenFunc func(ctx context.Context, rawURL string, o *OpenOptions) (Backend, error)

var registry struct {
	sync.RWMutex
	open map[string]OpenFunc
}

// Register makes a driver known under a URL scheme, in lower case. Drivers call
// it from init. It panics if the scheme is malformed or taken, or open is nil.
func Register(scheme string, open OpenFunc) {
	if !validScheme(scheme) || scheme != strings.ToLower(scheme) {
		panic("backend: Register of a malformed scheme " + scheme)
	}
	if open == nil {
		panic("backend: Register of a nil OpenFunc for " + scheme)
	}
	registry.Lock()
	defer registry.Unlock()
	if _, taken := registry.open[scheme]; taken {
		panic("backend: Register called twice for scheme " + scheme)
	}
	if registry.open == nil {
		registry.open = make(map[string]OpenFunc)
	}
	registry.open[scheme] = open
}

// Schemes returns the registered schemes in byte order.
func Schemes() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.open))
}

// Open opens the backend that rawURL names, with the driver registered for its
// scheme. A URL without a known scheme is [ErrInvalidURL]; that error lists the
// schemes that are known and names the import that is probably missing. No
// error holds any part of the URL but its scheme.
func Open(ctx context.Context, rawURL string, o *OpenOptions) (Backend, error) {
	scheme, _, found := strings.Cut(rawURL, "://")
	if !found || !validScheme(scheme) {
		return nil, fmt.Errorf("%w: it does not begin with a scheme and \"://\"; %s", ErrInvalidURL, knownSchemes())
	}
	scheme = strings.ToLower(scheme) // RFC 3986, section 3.1: schemes are case-insensitive
	registry.RLock()
	open := registry.open[scheme]
	registry.RUnlock()
	if open == nil {
		return nil, fmt.Errorf("%w: no driver is registered for scheme %q; %s; %s",
			ErrInvalidURL, scheme, knownSchemes(), importHint(scheme))
	}
	if o == nil {
		o = &OpenOptions{}
	}
	b, err := open(ctx, rawURL, o)
	if err == nil && b == nil {
		return nil, fmt.Errorf("backend: the driver for scheme %q returned neither a backend nor an error", scheme)
	}
	return b, err
}

// ownDrivers are the packages of this module that register a scheme.
var ownDrivers = map[string]string{
	"badger":          "example.com/keystore/badger",
	"memory":          "example.com/keystore/memory",
	"redis":           "example.com/keystore/redis",
	"rediss":          "example.com/keystore/redis",
	"redis+cluster":   "example.com/keystore/redis",
	"rediss+cluster":  "example.com/keystore/redis",
	"redis+sentinel":  "example.com/keystore/redis",
	"rediss+sentinel": "example.com/keystore/redis",
	"mongodb":         "example.com/keystore/mongo",
	"mongodb+srv":     "example.com/keystore/mongo",
}

func importHint(scheme string) string {
	if pkg, ok := ownDrivers[scheme]; ok {
		return fmt.Sprintf("is the import missing? add: import _ %q", pkg)
	}
	return `a driver registers its scheme when its package is imported, for example: import _ "example.com/keystore/badger"`
}

func knownSchemes() string {
	if known := Schemes(); len(known) > 0 {
		return "known schemes: " + strings.Join(known, ", ")
	}
	return "no scheme is known, because no driver is imported"
}

// maxSchemeLen keeps a secret that stands where a scheme belongs out of errors.
const maxSchemeLen = 20

// validScheme reports whether s is a scheme by RFC 3986, section 3.1, and short.
func validScheme(s string) bool {
	if s == "" || len(s) > maxSchemeLen {
		return false
	}
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return true
}
