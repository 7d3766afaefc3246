package keystore

import (
	"context"
	"errors"
	"iter"

	"example.com/keystore/backend"
)

const (
	defaultLimit = 50
	maxLimit     = 200
	walkPage     = 200 // records per backend call of All, RevokeAll and CountDigests
)

// ListParams says which page of keys List returns.
type ListParams struct {
	Owner string // only this owner's keys; "": all
	After string // the next that List returned; "": the first page
	Limit int    // 1..200; 0: 50
}

// List returns one page of keys in the order of their ids, which is the order of
// creation, and as next what to pass as After for the page that follows, "" on
// the last one. A key that exists throughout is in exactly one page.
//
// Damaged records do not stop a listing: the page comes without them, together
// with an error that is ErrCorrupt and names them. Otherwise: ErrInvalid for the
// parameters, ErrUnavailable, ErrClosed.
func (s *Keystore) List(ctx context.Context, p ListParams) (keys []Key, next string, err error) {
	ctx, end := s.begin(ctx, "list", "")
	err = ErrPanicked
	defer func() { end(err) }()
	switch {
	case p.Limit < 0 || p.Limit > maxLimit:
		return nil, "", invalid("limit", "%d is not in 1..%d", p.Limit, maxLimit)
	case !validCursor(p.After):
		return nil, "", invalid("after", "it is no cursor that List returned")
	case p.Limit == 0:
		p.Limit = defaultLimit
	}
	if p.Owner != "" {
		if err := checkOwner(p.Owner); err != nil {
			return nil, "", err
		}
	}
	records, err := s.page(ctx, p)
	if err != nil {
		return nil, "", err
	}
	if len(records) > p.Limit {
		records = records[:p.Limit]
		next = records[p.Limit-1].ID
	}
	var damaged []error
	now := s.now()
	for i := range records {
		var r record
		if err := r.open(&records[i], records[i].ID); err != nil {
			damaged = append(damaged, err)
			continue
		}
		keys = append(keys, r.view(now))
	}
	return keys, next, errors.Join(damaged...)
}

// page collects one record more than the page holds, to know whether another
// follows. A backend's page may be short; only an empty one is the end.
func (s *Keystore) page(ctx context.Context, p ListParams) ([]backend.Record, error) {
	var records []backend.Record
	for after := p.After; len(records) <= p.Limit; after = records[len(records)-1].ID {
		part, err := s.list(ctx, backend.ListOptions{Owner: p.Owner, After: after, Limit: p.Limit + 1 - len(records)})
		if err != nil {
			return nil, err
		}
		if len(part) == 0 {
			break
		}
		records = append(records, part...)
	}
	return records, nil
}

// list is one backend call. A backend that does not move forward would be
// listed for ever.
func (s *Keystore) list(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, s.unavailable(ctx, "list", err)
	}
	op := s.bound(ctx)
	defer op.end()
	part, err := s.backend.List(op, o)
	if err != nil {
		return nil, s.unavailable(ctx, "list", err)
	}
	last := o.After
	for i := range part {
		if part[i].ID <= last || o.Owner != "" && part[i].Owner != o.Owner {
			return nil, s.unavailable(ctx, "list", errors.New("the backend's page is out of order or holds another owner's key"))
		}
		last = part[i].ID
	}
	return part, nil
}

// validCursor reports whether after can be the id of any record of a backend.
func validCursor(after string) bool {
	for _, c := range []byte(after) {
		if !inAlphabet[c] && c != '_' && c != '-' {
			return false
		}
	}
	return len(after) <= backend.MaxIDLen
}

// All yields the keys of an owner, "" for those of all owners, in the order of
// their ids. One damaged record yields a Key with its id alone and an ErrCorrupt,
// and the listing goes on; any other error (ErrInvalid, ErrUnavailable,
// ErrClosed) is the last thing it yields.
func (s *Keystore) All(ctx context.Context, owner string) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		ctx, end := s.begin(ctx, "all", "")
		err := ErrPanicked
		defer func() { end(err) }()
		err = s.all(ctx, owner, yield)
	}
}

// all returns the last error that it yielded.
func (s *Keystore) all(ctx context.Context, owner string, yield func(Key, error) bool) (last error) {
	for r, err := range s.walk(ctx, owner) {
		k := Key{ID: r.key.ID}
		if err == nil {
			k = r.view(s.now())
		} else {
			last = err
		}
		if !yield(k, err) {
			break
		}
	}
	return last
}

// walk yields every record of an owner, with the rules of All.
func (s *Keystore) walk(ctx context.Context, owner string) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		if owner != "" {
			if err := checkOwner(owner); err != nil {
				yield(record{}, err)
				return
			}
		}
		for after := ""; ; {
			part, err := s.list(ctx, backend.ListOptions{Owner: owner, After: after, Limit: walkPage})
			if err != nil {
				yield(record{}, err)
				return
			}
			if len(part) == 0 {
				return
			}
			for i := range part {
				var r record
				err := r.open(&part[i], part[i].ID)
				if err != nil {
					r = record{key: Key{ID: part[i].ID}}
				}
				if !yield(r, err) {
					return
				}
			}
			after = part[len(part)-1].ID
		}
	}
}
