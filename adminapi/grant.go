package adminapi

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"example.com/keystore"
	"example.com/keystore/httpauth"
)

// The scopes that give access out of the box.
const (
	ScopeAdmin = "keystore:admin" // all keys
	ScopeSelf  = "keystore:self"  // the keys of the same owner
)

// ErrForbidden is for an Authorize function: the caller is known, and may not use
// the API. It is answered with 403.
var ErrForbidden = errors.New("adminapi: forbidden")

// Grant is what the caller of one request may do. The zero Grant allows nothing.
type Grant struct {
	// Actor is who calls, for the audit. "": whom the request's context names.
	Actor string
	// Owner restricts the call to this owner's keys. Any other key is as one that
	// does not exist.
	Owner string
	// AllOwners lifts the restriction; it has no effect beside an Owner.
	AllOwners bool
	// Scopes may be granted: these, and for each that ends in ":*" whatever begins
	// with what stands before the star; "*" is all of them. None of them reaches a
	// scope of the reserved segment "keystore".
	Scopes []string
	// Reserved lets scopes of the segment "keystore" be granted to new keys.
	Reserved bool
	// ExpiresAt is the latest expiry that may be given. Zero: there is no bound.
	ExpiresAt time.Time
	// Metadata lets metadata be set. A program may hang rights or plans on it.
	Metadata bool
	// EnableAny lets keys be enabled that were not disabled through a Grant
	// without EnableAny.
	EnableAny bool
	// KeyID and KeyGeneration tell which secret the caller presented: this key may
	// rotate itself, whatever its scopes, as long as that is its current secret, and
	// not at all by an older one. "": the caller presented no key of the store.
	KeyID         string
	KeyGeneration int
}

// ByKey authorizes whoever presents a key of the store with ScopeAdmin or
// ScopeSelf; who has both is an administrator. The limits of the Grant are those of
// the key: nobody is given a later expiry than the presented secret has itself, and
// ScopeSelf only grants scopes that its key has, other than reserved ones.
func ByKey(a *httpauth.Auth) func(*http.Request) (Grant, error) {
	return func(r *http.Request) (Grant, error) {
		found, err := a.Check(r)
		if err != nil {
			return Grant{}, err
		}
		k := found.Key
		if !k.Scopes.Has(ScopeAdmin) && !k.Scopes.Has(ScopeSelf) {
			// Asked again, so that the refusal is told and audited as any other.
			if found, err = a.Check(r, ScopeSelf); err != nil {
				return Grant{}, err
			}
			k = found.Key
		}
		// An older secret, in its grace period, hands out nothing that outlives it.
		g := Grant{Actor: k.ID, KeyID: k.ID, KeyGeneration: found.Generation, ExpiresAt: found.ValidUntil}
		if k.Scopes.Has(ScopeAdmin) {
			g.AllOwners, g.Scopes, g.Reserved, g.Metadata, g.EnableAny = true, []string{"*"}, true, true, true
			return g, nil
		}
		g.Owner = k.Owner
		for scope := range k.Scopes.All() {
			if !isReserved(scope) {
				g.Scopes = append(g.Scopes, scope)
			}
		}
		return g, nil
	}
}

// check refuses a grant that reaches no key, which an Authorize function returned.
func (g *Grant) check() error {
	if g.Owner == "" && !g.AllOwners {
		return ErrForbidden
	}
	return nil
}

// covers reports whether the scope, with or without a wildcard, may be granted.
func (g *Grant) covers(scope string) bool {
	if isReserved(scope) {
		return g.Reserved
	}
	return covered(g.Scopes, scope)
}

// covered reports whether all that scope covers is covered by one of granted.
func covered(granted []string, scope string) bool {
	for _, have := range granted {
		if have == scope || have == "*" && !isReserved(scope) {
			return true
		}
		stem, wild := strings.CutSuffix(have, "*")
		if wild && strings.HasSuffix(stem, ":") && strings.HasPrefix(scope, stem) && !isReserved(scope) {
			return true
		}
	}
	return false
}

func isReserved(scope string) bool {
	return scope == "keystore" || strings.HasPrefix(scope, "keystore:")
}

// holds returns a problem unless a key of these scopes and this expiry lies wholly
// within the grant, so that the caller may make it, revive it or have its token.
func (g *Grant) holds(scopes []string, expiresAt time.Time) error {
	for _, scope := range scopes {
		if !g.covers(scope) {
			return beyond("body.scopes", "The key has or would have a scope that you may not grant.")
		}
	}
	return g.reaches(expiresAt)
}

// reaches returns a problem if the expiry is later than may be given.
func (g *Grant) reaches(expiresAt time.Time) error {
	if !g.ExpiresAt.IsZero() && (expiresAt.IsZero() || expiresAt.After(g.ExpiresAt)) {
		return beyond("body.expires_at", "The key lives or would live longer than you may grant.")
	}
	return nil
}

// allows judges a patch of a key. What takes power away is always allowed; what
// gives some needs the whole key to lie within the grant.
func (g *Grant) allows(before, after *keystore.Changes) error {
	if !g.Metadata && !maps.Equal(before.Metadata, after.Metadata) {
		return beyond("body.metadata", "You may not set metadata.")
	}
	grows := later(after.ExpiresAt, before.ExpiresAt)
	for _, scope := range after.Scopes {
		grows = grows || !covered(before.Scopes, scope)
	}
	if !grows {
		return nil
	}
	return g.holds(after.Scopes, after.ExpiresAt)
}

// later reports whether an expiry is later than another; zero is never.
func later(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}
