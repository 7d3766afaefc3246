package keystore

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
)

const (
	maxScopes   = 64
	maxScopeLen = 128
	reserved    = "keystore" // first segment of the scopes that administer the store itself
)

// Scopes is the immutable set of scopes that a key grants, in byte order. The
// zero value is the empty set, which covers nothing.
type Scopes struct{ list []string }

// Has reports whether the set covers the scope by the rules of Key.CheckScopes,
// or holds it literally.
func (s Scopes) Has(scope string) bool {
	return slices.Contains(s.list, scope) || validRequired(scope) && s.cover(scope)
}

// Len returns the number of scopes.
func (s Scopes) Len() int { return len(s.list) }

// All yields the scopes in byte order.
func (s Scopes) All() iter.Seq[string] { return slices.Values(s.list) }

// MarshalJSON returns an array of strings, never null.
func (s Scopes) MarshalJSON() ([]byte, error) {
	if s.list == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(s.list)
}

// String returns the scopes separated by spaces.
func (s Scopes) String() string { return strings.Join(s.list, " ") }

// cover reports whether a granted scope covers the valid required one.
func (s Scopes) cover(required string) bool {
	isReserved := isReserved(required)
	for _, granted := range s.list {
		if granted == required {
			return true
		}
		if isReserved { // no wildcard reaches the administration of the store
			continue
		}
		if granted == "*" {
			return true
		}
		if stem, ok := strings.CutSuffix(granted, "*"); ok && strings.HasPrefix(required, stem) {
			return true // the stem ends in ":", so "orders:*" covers neither "orders" nor "orders2:x"
		}
	}
	return false
}

// check returns a *ScopeError that names the required scopes that are missing;
// checkRequired has passed them.
func (s Scopes) check(required []string) error {
	var missing []string
	for _, r := range required {
		if !s.cover(r) {
			missing = append(missing, r)
		}
	}
	if missing != nil {
		return &ScopeError{Missing: missing}
	}
	return nil
}

// checkRequired returns a *FieldError for a required scope that is malformed.
func checkRequired(required []string) error {
	for i, r := range required {
		// Not repeated, here or as missing: it may be a token in the wrong place.
		if _, _, token := splitToken(r); token || !validRequired(r) {
			return invalid("scope", "required scope number %d is not segments of [A-Za-z0-9._-] joined by ':', at most %d bytes, without wildcard", i+1, maxScopeLen)
		}
	}
	return nil
}

// newScopes checks granted scopes and makes a set of them.
func newScopes(list []string) (Scopes, error) {
	if len(list) > maxScopes {
		return Scopes{}, invalid("scopes", "%d are more than %d", len(list), maxScopes)
	}
	for i, g := range list {
		if !validGranted(g) {
			return Scopes{}, invalid("scopes", "scope number %d is not segments of [A-Za-z0-9._-] joined by ':', at most %d bytes, nor \"*\", nor such segments ending in \":*\" outside %q", i+1, maxScopeLen, reserved)
		}
	}
	if len(list) == 0 {
		return Scopes{}, nil
	}
	set := slices.Clone(list)
	slices.Sort(set)
	return Scopes{slices.Clip(slices.Compact(set))}, nil
}

// addsReserved returns a reserved scope that is in s but not in before.
func (s Scopes) addsReserved(before Scopes) (string, bool) {
	for _, g := range s.list {
		if isReserved(g) && !slices.Contains(before.list, g) {
			return g, true
		}
	}
	return "", false
}

func isReserved(scope string) bool {
	return scope == reserved || strings.HasPrefix(scope, reserved+":")
}

func validGranted(g string) bool {
	if g == "*" {
		return true
	}
	stem, wild := strings.CutSuffix(g, ":*")
	if wild && isReserved(stem) {
		return false // it would cover nothing, and look as if it did
	}
	return len(g) <= maxScopeLen && validSegments(stem)
}

func validRequired(r string) bool { return len(r) <= maxScopeLen && validSegments(r) }

// validSegments reports whether s is one or more segments joined by ":".
func validSegments(s string) bool {
	start := true // of a segment
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
			start = false
		case c == ':' && !start:
			start = true
		default:
			return false
		}
	}
	return !start
}
