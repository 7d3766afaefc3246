package keystore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// unrevoked returns ErrState for a revoked key. The state of a key is monotone:
// nothing clears a revocation.
func unrevoked(r *record) error {
	if !r.key.RevokedAt.IsZero() {
		return stateError(r.key.ID, "it is revoked")
	}
	return nil
}

// Get returns a key by its id. Errors: ErrNotFound, ErrCorrupt, ErrUnavailable,
// ErrClosed.
func (s *Keystore) Get(ctx context.Context, id string) (Key, error) { return s.get(ctx, id, "") }

func (s *Keystore) get(ctx context.Context, id, owner string) (key Key, err error) {
	ctx, end := s.begin(ctx, "get", id)
	err = ErrPanicked
	defer func() { end(err) }()
	r, err := s.read(ctx, id, owner)
	if err != nil {
		return Key{}, err
	}
	return r.view(s.now()), nil
}

// Update changes what fn changes. fn may run again, on newer values, when
// another writer came first; an error of fn ends the update and is returned as
// it is. Scopes that are reserved can be kept or dropped, not added.
//
// Errors: ErrInvalid naming the field, ErrNotFound, ErrState for a revoked key,
// ErrConflict after 16 tries (a change that disables the key goes on until the
// context ends), ErrUnavailable, ErrUnknownOutcome, ErrCorrupt, ErrClosed.
func (s *Keystore) Update(ctx context.Context, id string, fn func(*Changes) error) (Key, error) {
	return s.update(ctx, id, "", fn)
}

func (s *Keystore) update(ctx context.Context, id, owner string, fn func(*Changes) error) (Key, error) {
	e := &Event{Action: ActionUpdate, KeyID: id}
	return s.manage(ctx, "update", e, func(ctx context.Context) (Key, error) {
		if fn == nil {
			return Key{}, invalid("fn", "it is nil")
		}
		return s.change(ctx, id, owner, s.changes(fn, e))
	})
}

// changes is the edit of Update. It notes in e what it changes.
func (s *Keystore) changes(fn func(*Changes) error, e *Event) edit {
	return func(r *record, now time.Time) (retries, error) {
		if err := unrevoked(r); err != nil {
			return bounded, err
		}
		k := &r.key
		c := Changes{
			Name: k.Name, Description: k.Description, ExpiresAt: k.ExpiresAt, Disabled: k.Disabled,
			Scopes: slices.Clone(k.Scopes.list), Metadata: maps.Collect(k.Metadata.All()),
			Plan: k.Plan, Limits: slices.Clone(k.Limits.list), Revision: k.revision,
		}
		e.Action, e.Detail = ActionUpdate, ""
		if err := fn(&c); err != nil {
			e.Detail = refusedByProgram
			return bounded, err
		}
		before := k.Disabled
		changed, err := s.apply(&c, k, now)
		switch {
		case err != nil:
			return bounded, err
		case changed == nil:
			return bounded, errUnchanged
		}
		e.Detail = strings.Join(changed, ", ")
		switch {
		case k.Disabled && !before:
			e.Action = ActionDisable
			return untilDeadline, nil
		case before && !k.Disabled:
			e.Action = ActionEnable
		}
		return bounded, nil
	}
}

// apply checks the changes, makes them, and returns the fields that they changed.
// What did not change is not checked: a key may be older than today's limits.
func (s *Keystore) apply(c *Changes, k *Key, now time.Time) (changed []string, err error) {
	if c.Name != k.Name {
		if err := checkText("name", c.Name, maxNameLen); err != nil {
			return nil, err
		}
		k.Name, changed = c.Name, append(changed, "name")
	}
	if c.Description != k.Description {
		if err := checkText("description", c.Description, maxDescriptionLen); err != nil {
			return nil, err
		}
		k.Description, changed = c.Description, append(changed, "description")
	}
	if !slices.Equal(c.Scopes, k.Scopes.list) {
		scopes, err := newScopes(c.Scopes)
		if err != nil {
			return nil, err
		}
		if g, adds := scopes.addsReserved(k.Scopes); adds {
			return nil, invalid("scopes", "%q is reserved for administration and cannot be added", g)
		}
		if !slices.Equal(scopes.list, k.Scopes.list) {
			changed = append(changed, "scopes")
		}
		k.Scopes = scopes
	}
	if !maps.Equal(c.Metadata, maps.Collect(k.Metadata.All())) {
		if k.Metadata, err = newMetadata(c.Metadata); err != nil {
			return nil, err
		}
		changed = append(changed, "metadata")
	}
	if !c.ExpiresAt.IsZero() && inRange(c.ExpiresAt) {
		c.ExpiresAt = millis(c.ExpiresAt)
	}
	if !c.ExpiresAt.Equal(k.ExpiresAt) {
		if k.ExpiresAt, err = s.expiry("expires_at", now, c.ExpiresAt); err != nil {
			return nil, err
		}
		changed = append(changed, "expires_at")
	}
	if c.Disabled != k.Disabled {
		k.Disabled, changed = c.Disabled, append(changed, "disabled")
	}
	limits, err := s.applyLimits(c, k)
	return append(changed, limits...), err
}

// applyLimits is apply for the plan and the limits, which are checked together.
func (s *Keystore) applyLimits(c *Changes, k *Key) (changed []string, err error) {
	if c.Plan != k.Plan {
		k.Plan, changed = c.Plan, append(changed, "plan")
	}
	if !slices.Equal(c.Limits, k.Limits.list) {
		limits, err := newLimits("limits", c.Limits)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(limits.list, k.Limits.list) {
			k.Limits, changed = limits, append(changed, "limits")
		}
	}
	if changed == nil {
		return nil, nil
	}
	return changed, s.checkLimits(k)
}

// Delete removes the key, what is spent of its limits, and every other trace of it
// but its usage, which stays as long as Options.UsageRetention says. Revoke is what an incident asks
// for: it leaves a record that says so, and it holds even against a Generate of
// the key that was resent because its reply was lost, and whose first attempt is
// still on its way to a store over a network: after Delete, that makes the key
// anew. Errors: ErrNotFound, ErrUnavailable,
// ErrUnknownOutcome, ErrClosed. A damaged record can be deleted.
func (s *Keystore) Delete(ctx context.Context, id string) error { return s.delete(ctx, id, "") }

func (s *Keystore) delete(ctx context.Context, id, owner string) error {
	e := &Event{Action: ActionDelete, KeyID: id}
	_, err := s.manage(ctx, "delete", e, func(ctx context.Context) (Key, error) {
		stored, err := s.fetch(ctx, id, owner)
		if err != nil {
			return Key{}, err
		}
		e.Owner = stored.Owner
		err = s.sendChange(ctx, id, func(op context.Context) error { return s.backend.Delete(op, id) })
		if err == nil && s.counter != nil && mayBeLimited(stored.Data) {
			if err := s.resetCounts(ctx, id); err != nil { // Purge forgets them in time
				s.opts.Logger.Warn("keystore: the counts of a deleted key's limits stay until their windows end", "key", id, "error", err)
			}
		}
		return Key{}, err
	})
	return err
}

// CountDigests counts the secrets that may still be presented, by scheme and
// key id ("hmac-sha256$2026-01"; "sha256$" where a scheme has no keys). Those of
// revoked and expired keys count until they are purged: without their pepper a
// lookup could not tell that they are. When a pepper's count is 0 in a store
// where no process makes digests with it any more, it may be retired.
//
// It reads the whole store. A damaged record is passed over and reported: the
// counts come with an error that is ErrCorrupt. Otherwise ErrUnavailable,
// ErrClosed.
func (s *Keystore) CountDigests(ctx context.Context) (counts map[string]int, err error) {
	ctx, end := s.begin(ctx, "count_digests", "")
	err = ErrPanicked
	defer func() { end(err) }()
	counts = make(map[string]int)
	var damaged []error
	for r, err := range s.walk(ctx, "") {
		switch {
		case errors.Is(err, ErrCorrupt):
			damaged = append(damaged, err)
		case err != nil:
			return counts, err
		default:
			now := s.now()
			for _, sec := range r.secrets {
				if sec.live(now) {
					counts[sec.digest.scheme+"$"+sec.digest.kid]++
				}
			}
		}
	}
	return counts, errors.Join(damaged...)
}
