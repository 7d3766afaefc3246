package keystore

import (
	"context"
	"errors"
	"iter"
	"time"
)

// OwnerView is a Keystore seen by one owner, for programs whose users manage
// their own keys. Its methods are those of Keystore; the key of another owner
// is ErrNotFound, word for word as one that does not exist. A view of the empty
// owner answers ErrInvalid to everything. It is safe for concurrent use.
type OwnerView struct {
	s     *Keystore
	owner string
}

// ForOwner returns the view of one owner.
func (s *Keystore) ForOwner(owner string) *OwnerView { return &OwnerView{s, owner} }

// Owner returns the owner of the view.
func (v *OwnerView) Owner() string { return v.owner }

// Generate makes a key of the owner; p.Owner must be the owner or empty.
func (v *OwnerView) Generate(ctx context.Context, p KeyParams) (Token, Key, error) {
	if err := v.own(&p.Owner); err != nil {
		return Token{}, Key{}, err
	}
	return v.s.Generate(ctx, p)
}

// Get is Keystore.Get.
func (v *OwnerView) Get(ctx context.Context, id string) (Key, error) {
	if err := checkOwner(v.owner); err != nil {
		return Key{}, err
	}
	return v.s.get(ctx, id, v.owner)
}

// List is Keystore.List; p.Owner must be the owner or empty.
func (v *OwnerView) List(ctx context.Context, p ListParams) (keys []Key, next string, err error) {
	if err := v.own(&p.Owner); err != nil {
		return nil, "", err
	}
	return v.s.List(ctx, p)
}

// All is Keystore.All for the owner.
func (v *OwnerView) All(ctx context.Context) iter.Seq2[Key, error] {
	if err := checkOwner(v.owner); err != nil {
		return func(yield func(Key, error) bool) { yield(Key{}, err) }
	}
	return v.s.All(ctx, v.owner)
}

// Update is Keystore.Update.
func (v *OwnerView) Update(ctx context.Context, id string, fn func(*Changes) error) (Key, error) {
	if err := checkOwner(v.owner); err != nil {
		return Key{}, err
	}
	return v.s.update(ctx, id, v.owner, fn)
}

// Expire is Keystore.Expire.
func (v *OwnerView) Expire(ctx context.Context, id string, at time.Time) (Key, error) {
	if err := checkOwner(v.owner); err != nil {
		return Key{}, err
	}
	return v.s.expire(ctx, id, v.owner, at)
}

// ClearExpiry is Keystore.ClearExpiry.
func (v *OwnerView) ClearExpiry(ctx context.Context, id string) (Key, error) {
	if err := checkOwner(v.owner); err != nil {
		return Key{}, err
	}
	return v.s.clearExpiry(ctx, id, v.owner)
}

// Rotate is Keystore.Rotate.
func (v *OwnerView) Rotate(ctx context.Context, id string, grace time.Duration, p *RotateParams) (Token, Key, error) {
	if err := checkOwner(v.owner); err != nil {
		return Token{}, Key{}, err
	}
	return v.s.rotate(ctx, id, v.owner, grace, p)
}

// EndGrace is Keystore.EndGrace.
func (v *OwnerView) EndGrace(ctx context.Context, id string) (Key, error) {
	if err := checkOwner(v.owner); err != nil {
		return Key{}, err
	}
	return v.s.endGrace(ctx, id, v.owner)
}

// Revoke is Keystore.Revoke.
func (v *OwnerView) Revoke(ctx context.Context, id, reason string) (Key, error) {
	if err := checkOwner(v.owner); err != nil {
		return Key{}, err
	}
	return v.s.revoke(ctx, id, v.owner, reason)
}

// RevokeAll is Keystore.RevokeAll for the owner.
func (v *OwnerView) RevokeAll(ctx context.Context, reason string) (int, error) {
	return v.s.RevokeAll(ctx, v.owner, reason)
}

// Delete is Keystore.Delete.
func (v *OwnerView) Delete(ctx context.Context, id string) error {
	if err := checkOwner(v.owner); err != nil {
		return err
	}
	return v.s.delete(ctx, id, v.owner)
}

// LimitsOf is Keystore.LimitsOf.
func (v *OwnerView) LimitsOf(ctx context.Context, id string) ([]LimitState, error) {
	if err := checkOwner(v.owner); err != nil {
		return nil, err
	}
	return v.s.limitsOf(ctx, id, v.owner)
}

// Usage is Keystore.Usage of a key that exists, else ErrNotFound.
func (v *OwnerView) Usage(ctx context.Context, id string, from, to time.Time) iter.Seq2[Usage, error] {
	return func(yield func(Usage, error) bool) {
		if _, err := v.Get(ctx, id); err != nil && !errors.Is(err, ErrCorrupt) {
			yield(Usage{}, err)
			return
		}
		v.s.Usage(ctx, id, from, to)(yield)
	}
}

// OwnerUsage is Keystore.OwnerUsage for the owner.
func (v *OwnerView) OwnerUsage(ctx context.Context, from, to time.Time) iter.Seq2[Usage, error] {
	return v.s.OwnerUsage(ctx, v.owner, from, to)
}

// own fills in the owner of parameters, and refuses another one.
func (v *OwnerView) own(owner *string) error {
	if err := checkOwner(v.owner); err != nil {
		return err
	}
	if *owner != "" && *owner != v.owner {
		return invalid("owner", "it is not the owner of this view")
	}
	*owner = v.owner
	return nil
}
