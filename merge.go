package keystore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"example.com/keystore/backend"
)

// twins is what two stores have under one id; at most one of the two is nil.
type twins struct{ from, to *backend.Record }

// relation says how the target's twin stands to the source's.
type relation int

const (
	unseen      relation = iota
	isMissing            // the target has no such key
	isExtra              // the source has none
	isSame               // equal, but for the revision and the last use
	isOlder              // the source has the target's last write, and others since
	isNewer              // the other way round; or both are revoked, and nothing else matters
	isDiverged           // neither has the other's last write, or they belong to different owners
	isUnrevoked          // the same, and the source is revoked where the target is not
	isDamaged            // one of the two cannot be read
)

// relation judges the twins. With isDiverged, isUnrevoked and isDamaged it says
// what is wrong.
func (t twins) relation() (relation, error) {
	if t.from == nil {
		return isExtra, nil
	}
	var from, to record
	if err := from.open(t.from, t.from.ID); err != nil {
		return isDamaged, fmt.Errorf("source: %w", err)
	}
	if t.to == nil {
		return isMissing, nil
	}
	if err := to.open(t.to, t.from.ID); err != nil {
		return isDamaged, fmt.Errorf("target: %w", err)
	}
	switch {
	case t.from.Owner != t.to.Owner:
		return isDiverged, keyError(t.from.ID, fmt.Errorf("%w: in the target it belongs to another owner", ErrConflict))
	case bytes.Equal(t.from.Data, t.to.Data) && t.from.PurgeAt.Equal(t.to.PurgeAt):
		return isSame, nil
	case bytes.Equal(t.from.Data, t.to.Data):
		return isOlder, nil // no keystore makes this; the source's PurgeAt is as good as any
	}
	rel := from.relation(&to)
	if rel == isDiverged || rel == isUnrevoked {
		return rel, keyError(t.from.ID, fmt.Errorf("%w: since the last copy both stores have changed it, or one of them more than %d times", ErrConflict, keepWriteIDs))
	}
	return rel, nil
}

// relation judges two different states of one key by the ids of the last writes,
// which each of them holds. No keystore takes a revocation back: a state that
// looks as if it had is not the newer one.
func (r *record) relation(target *record) relation {
	revoked, targetRevoked := !r.key.RevokedAt.IsZero(), !target.key.RevokedAt.IsZero()
	follows := r.wrote(target.lastWrite())
	precedes := target.wrote(r.lastWrite())
	switch {
	case follows && !precedes && (revoked || !targetRevoked):
		return isOlder
	case precedes && !follows && (targetRevoked || !revoked):
		return isNewer
	case revoked && targetRevoked:
		return isNewer
	case revoked:
		return isUnrevoked
	}
	return isDiverged
}

// usedLater reports whether the source knows of a later use than the target.
func (t twins) usedLater() bool {
	var known time.Time
	if t.to != nil {
		known = t.to.LastUsed
	}
	return t.from.LastUsed.After(known)
}

// side is one of two stores that are read in step, a page at a time.
type side struct {
	*Keystore
	name  string
	limit int              // of a page
	page  []backend.Record // what is read and not taken yet
	after string
	end   bool
}

// newSide reads the records after an id. A limit of 0 means the default. It is to
// be closed.
func newSide(name string, b backend.Backend, o Options, after string, limit int) (*side, error) {
	o.TouchInterval, o.PurgeInterval, o.UsageInterval, o.CacheSize = Never, Never, Never, -1
	if o.OpTimeout == 0 {
		o.OpTimeout = copyTimeout
	}
	ks, err := New(b, &o)
	if err != nil {
		return nil, err
	}
	return &side{Keystore: ks, name: name, limit: cmp.Or(limit, copyPage), after: after}, nil
}

// next returns the record that is to be taken next, nil at the end.
func (s *side) next(ctx context.Context) (*backend.Record, error) {
	if len(s.page) == 0 && !s.end {
		page, err := s.list(ctx, backend.ListOptions{After: s.after, Limit: s.limit})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if s.page, s.end = page, len(page) == 0; !s.end {
			s.after = page[len(page)-1].ID
		}
	}
	if s.end {
		return nil, nil
	}
	return &s.page[0], nil
}

// take returns the next record as a copy, which does not keep the page in memory.
func (s *side) take() *backend.Record {
	r := s.page[0]
	s.page = s.page[1:]
	return &r
}

// merged yields what two stores hold, in the order of the ids. An error is the
// last thing it yields.
func merged(ctx context.Context, source, target *side) iter.Seq2[twins, error] {
	return func(yield func(twins, error) bool) {
		for {
			from, err := source.next(ctx)
			if err != nil {
				yield(twins{}, err)
				return
			}
			to, err := target.next(ctx)
			switch {
			case err != nil:
				yield(twins{}, err)
				return
			case from == nil && to == nil:
				return
			case to == nil, from != nil && from.ID < to.ID:
				to = nil
			case from == nil, to.ID < from.ID:
				from = nil
			}
			var t twins
			if from != nil {
				t.from = source.take()
			}
			if to != nil {
				t.to = target.take()
			}
			if !yield(t, nil) {
				return
			}
		}
	}
}
