package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/keystore/backend"
)

// idTries is how many ids are drawn for a new key before giving up: a second is
// needed when an id of 47 random bits in the same millisecond is taken.
const idTries = 3

// Generate makes a new key and returns its token, which is not stored and cannot
// be had again. Errors: ErrInvalid naming the field; ErrUnavailable if nothing
// was stored; ErrUnknownOutcome if the key may be there, and then the token and
// key are returned too, because the token may be live; ErrClosed.
func (s *Keystore) Generate(ctx context.Context, p KeyParams) (Token, Key, error) {
	var token Token
	key, err := s.manage(ctx, "generate", &Event{Action: ActionGenerate, Owner: p.Owner}, func(ctx context.Context) (key Key, err error) {
		token, key, err = s.generate(ctx, p)
		return key, err
	})
	return token, key, err
}

func (s *Keystore) generate(ctx context.Context, p KeyParams) (Token, Key, error) {
	if s.closed.Load() {
		return Token{}, Key{}, ErrClosed
	}
	now := s.now()
	key, err := s.newKey(p, now)
	if err != nil {
		return Token{}, Key{}, err
	}
	for range idTries {
		token, r, err := s.draw(ctx, key, now)
		if err != nil {
			return Token{}, Key{}, err
		}
		err = s.create(ctx, &r, now)
		switch {
		case errors.Is(err, backend.ErrExists):
			continue
		case err != nil && !errors.Is(err, ErrUnknownOutcome):
			return Token{}, Key{}, err
		}
		return token, r.view(now), err
	}
	return Token{}, Key{}, fmt.Errorf("%w: %d random ids in a row were taken", ErrUnavailable, idTries)
}

// newKey checks the parameters and makes the key without id and secret.
func (s *Keystore) newKey(p KeyParams, now time.Time) (Key, error) {
	k := Key{Owner: p.Owner, Name: p.Name, Description: p.Description, Prefix: s.opts.Prefix, CreatedAt: now}
	if err := checkOwner(p.Owner); err != nil {
		return Key{}, err
	}
	if err := checkText("name", p.Name, maxNameLen); err != nil {
		return Key{}, err
	}
	if err := checkText("description", p.Description, maxDescriptionLen); err != nil {
		return Key{}, err
	}
	var err error
	if k.Scopes, err = newScopes(p.Scopes); err != nil {
		return Key{}, err
	}
	if g, found := k.Scopes.addsReserved(Scopes{}); found && !p.AllowReserved {
		return Key{}, invalid("scopes", "%q is reserved for administration and needs AllowReserved", g)
	}
	if k.Metadata, err = newMetadata(p.Metadata); err != nil {
		return Key{}, err
	}
	k.Plan = p.Plan
	if k.Limits, err = newLimits("limits", p.Limits); err != nil {
		return Key{}, err
	}
	if err := s.checkLimits(&k); err != nil {
		return Key{}, err
	}
	k.ExpiresAt, err = s.firstExpiry(p, now)
	return k, err
}

// draw gives the key an id and a secret.
func (s *Keystore) draw(ctx context.Context, key Key, now time.Time) (Token, record, error) {
	id, err := newID(now)
	if err != nil {
		return Token{}, record{}, err
	}
	token, err := newToken(key.Prefix, id)
	if err != nil {
		return Token{}, record{}, err
	}
	digest, err := s.digest(ctx, token.Reveal())
	if err != nil {
		return Token{}, record{}, err
	}
	key.ID, key.revision = id, 1
	return token, record{key: key, secrets: []secret{{digest: digest, generation: 1}}}, nil
}

// digest hashes a token for the store. A hasher that fails leaves nothing behind.
func (s *Keystore) digest(ctx context.Context, token string) (Digest, error) {
	d, err := hashWith(ctx, s.opts.Hash, token)
	if err != nil {
		return Digest{}, s.unavailable(ctx, "hash", err)
	}
	// A hasher of the program's own may return what the record cannot hold, or
	// what no lookup would find the hasher for.
	if s.hasher(d) == nil {
		return Digest{}, invalid("Hash", "it made a digest that it does not claim to verify")
	}
	return NewDigest(d.scheme, d.kid, []byte(d.sum))
}

// create stores a new record. It returns backend.ErrExists if the id is taken by
// another key.
func (s *Keystore) create(ctx context.Context, r *record, now time.Time) error {
	id := r.key.ID
	next, writeID, err := s.seal(r, now)
	if err != nil {
		return err
	}
	err = s.sendChange(ctx, id, func(op context.Context) error { return s.backend.Create(op, next) },
		backend.ErrExists)
	if !errors.Is(err, backend.ErrExists) {
		return err
	}
	// Perhaps it is our own, stored before its reply was lost and changed since.
	switch err := s.settle(ctx, id, writeID, 1, err); {
	case errors.Is(err, ErrConflict), errors.Is(err, backend.ErrNotFound):
		return backend.ErrExists
	default:
		return err
	}
}
