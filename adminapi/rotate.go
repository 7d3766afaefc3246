package adminapi

import (
	"errors"
	"slices"

	"example.com/keystore"
)

// rotateTries is how often a rotation is checked and tried while others change the
// key.
const rotateTries = 16

type rotateRequest struct {
	GraceSeconds seconds    `json:"grace_seconds" doc:"For how long the old token works on; 0 ends it at once."`
	ExpiresAt    *timestamp `json:"expires_at,omitempty" doc:"Of the key from now on; absent: unchanged."`
}

// rotate checks the key that it read and rotates that revision of it, so that
// nobody adds a scope in between.
func (c *call) rotate() (answer, error) {
	var req rotateRequest
	if err := decode(c.body, &req); err != nil {
		return answer{}, err
	}
	var p keystore.RotateParams
	if req.ExpiresAt != nil {
		p.ExpiresAt = req.ExpiresAt.Time
	}
	for range rotateTries {
		k, err := c.keys.Get(c.r.Context(), c.id)
		if err != nil {
			return answer{}, err
		}
		if !c.match.holds(k.Revision()) {
			return answer{}, errPrecondition
		}
		if err := c.mayRotate(k, &p); err != nil {
			return answer{}, err
		}
		p.IfRevision = k.Revision()
		token, k, err := c.keys.Rotate(c.r.Context(), c.id, req.GraceSeconds.Duration, &p)
		switch {
		case errors.Is(err, keystore.ErrConflict):
			continue
		case errors.Is(err, keystore.ErrUnknownOutcome):
			return answer{}, unsettled{err, token, c.view(k)}
		case err != nil:
			return answer{}, err
		}
		return c.tokenAnswer(token, k), nil
	}
	return answer{}, errConflict
}

// mayRotate: a rotation hands out a token of the key. A key may rotate itself,
// whatever its scopes, for who presented its current secret has such a token. An older
// secret, in its grace period, may not take the place of the one that replaced it.
func (c *call) mayRotate(k keystore.Key, p *keystore.RotateParams) error {
	expiresAt := k.ExpiresAt
	if !p.ExpiresAt.IsZero() {
		expiresAt = p.ExpiresAt
	}
	if k.ID == c.grant.KeyID {
		if k.Generation != c.grant.KeyGeneration {
			return beyond("", "The presented secret is not the current one of this key.")
		}
		return c.grant.reaches(expiresAt)
	}
	return c.grant.holds(&keystore.Changes{
		Scopes: slices.Collect(k.Scopes.All()), ExpiresAt: expiresAt,
		Plan: k.Plan, Limits: slices.Collect(k.Limits.All()),
	}, c.plans)
}
