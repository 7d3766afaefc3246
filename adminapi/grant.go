package adminapi

import (
	"errors"
	"maps"
	"net/http"
	"slices"
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
	// SetLimits lets plans and limits be set, and what is spent of them be reset.
	// Without it a key that is made gets Plan and Limits, and a key is given power or
	// rotated only if its limits are no wider than these, those of the plan included:
	// for each of them it needs one over the same window that allows no more requests.
	// Empty, they bound nothing.
	SetLimits bool
	Plan      string // of Options.Plans of the Keystore
	Limits    []keystore.Limit
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
// ScopeSelf; who has both is an administrator. A request costs 1 of the key's limits.
// The limits of the Grant are those of
// the key: nobody is given a later expiry than the presented secret has itself, and
// ScopeSelf only grants scopes that its key has, other than reserved ones, and the
// plan and limits that its key has.
func ByKey(a *httpauth.Auth) func(*http.Request) (Grant, error) {
	return func(r *http.Request) (Grant, error) {
		// 1, whatever httpauth.Options.Cost says of other requests.
		found, err := a.CheckWith(r, keystore.LookupParams{Cost: 1})
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
			g.AllOwners, g.Scopes, g.Reserved, g.Metadata, g.SetLimits, g.EnableAny = true, []string{"*"}, true, true, true, true
			return g, nil
		}
		g.Owner, g.Plan, g.Limits = k.Owner, k.Plan, slices.Collect(k.Limits.All())
		for scope := range k.Scopes.All() {
			if !isReserved(scope) {
				g.Scopes = append(g.Scopes, scope)
			}
		}
		return g, nil
	}
}

// check refuses a grant that reaches no key, which an Authorize function returned. A
// plan that does not exist is no fault of the caller's.
func (g *Grant) check(p plans) error {
	switch {
	case g.Owner == "" && !g.AllOwners:
		return ErrForbidden
	case !p.has(g.Plan):
		return errors.New("adminapi: the plan of the Grant is not among Options.Plans")
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

// holds returns a problem unless such a key lies wholly within the grant, so that
// the caller may make it, revive it or have its token.
func (g *Grant) holds(k *keystore.Changes, p plans) error {
	for _, scope := range k.Scopes {
		if !g.covers(scope) {
			return beyond("body.scopes", "The key has or would have a scope that you may not grant.")
		}
	}
	if err := g.reaches(k.ExpiresAt); err != nil {
		return err
	}
	return g.bounds(k.Plan, k.Limits, p)
}

// reaches returns a problem if the expiry is later than may be given.
func (g *Grant) reaches(expiresAt time.Time) error {
	if !g.ExpiresAt.IsZero() && (expiresAt.IsZero() || expiresAt.After(g.ExpiresAt)) {
		return beyond("body.expires_at", "The key lives or would live longer than you may grant.")
	}
	return nil
}

// allows judges a patch of a key. What takes power away is always allowed; what
// gives some needs the whole key to lie within the grant. Lower limits would take
// power away, but they are the administrator's.
func (g *Grant) allows(before, after *keystore.Changes, p plans) error {
	if !g.SetLimits {
		if err := sameLimits(before.Plan, before.Limits, after.Plan, after.Limits); err != nil {
			return err
		}
	}
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
	return g.holds(after, p)
}

// later reports whether an expiry is later than another; zero is never.
func later(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}
