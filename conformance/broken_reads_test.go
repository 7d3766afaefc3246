package conformance

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
)

// brokenReads are breakages of Get and List, and of what is kept for them.
var brokenReads = []breakage{
	{"Get hides what is past PurgeAt", stillReturned, getWith(func(h handle, r backend.Record, err error) (backend.Record, error) {
		if err == nil && !r.PurgeAt.IsZero() && r.PurgeAt.Before(time.Now()) {
			return backend.Record{}, backend.ErrNotFound
		}
		return r, err
	})},
	{"Get finds nothing and says nothing", getMissing, getWith(func(h handle, r backend.Record, err error) (backend.Record, error) {
		if errors.Is(err, backend.ErrNotFound) {
			err = nil
		}
		return r, err
	})},
	{"Get hands out what it keeps", "what a backend returns belongs to the caller", getWith(func(h handle, r backend.Record, err error) (backend.Record, error) {
		h.side.Lock()
		defer h.side.Unlock()
		if kept, ok := h.side.records[r.ID]; ok && err == nil && kept.Revision == r.Revision && kept.LastUsed.Equal(r.LastUsed) {
			return kept, nil
		}
		h.side.records[r.ID] = r
		return r, err
	})},
	{"Get reads twice", ofOnePiece, getWith(func(h handle, r backend.Record, err error) (backend.Record, error) {
		yield()
		if later, err := h.Get(context.Background(), r.ID); err == nil {
			r.Revision = later.Revision
		}
		return r, err
	})},
	{"IDs in any case", "IDs are compared byte for byte", func(h handle) backend.Backend { return anyCase{h} }},
	{"a handle remembers what it read", "a change is seen through every handle of the store once it is acknowledged", func(h handle) backend.Backend {
		return stale{h, make(map[string]backend.Record)}
	}},

	{"times are cut to seconds", exactly, alter(func(r *backend.Record) { r.PurgeAt = r.PurgeAt.Truncate(time.Second) })},
	{"the zero time becomes 1970", exactly, alter(func(r *backend.Record) {
		if r.PurgeAt.IsZero() {
			r.PurgeAt = time.UnixMilli(0).UTC()
		}
	})},
	{"1970 becomes the zero time", exactly, alter(func(r *backend.Record) {
		if r.LastUsed.Equal(time.UnixMilli(0)) {
			r.LastUsed = time.Time{}
		}
	})},
	{"times are kept as nanoseconds", exactly, alter(func(r *backend.Record) {
		if !r.PurgeAt.IsZero() {
			r.PurgeAt = time.Unix(0, r.PurgeAt.UnixNano()).UTC()
		}
	})},
	{"times are local", exactly, alter(func(r *backend.Record) { r.LastUsed = r.LastUsed.In(time.FixedZone("somewhere", 3600)) })},
	{"Data is text", byteForByte, alter(func(r *backend.Record) { r.Data = []byte(strings.ToValidUTF8(string(r.Data), "\ufffd")) })},
	{"Data is cut", byteForByte, alter(func(r *backend.Record) { r.Data = r.Data[:min(len(r.Data), 1<<15)] })},
	{"owners lose their spaces", "List returns only this owner's records", alter(func(r *backend.Record) { r.Owner = strings.TrimSpace(r.Owner) })},

	{"Data is kept as given", keepsNothing, func(h handle) backend.Backend { return keeping{h} }},
	{"Data is used up", "a backend does not modify memory that it is given", createWith(func(ctx context.Context, h handle, r backend.Record) error {
		defer func() { clear(r.Data) }()
		return h.Create(ctx, r)
	})},
	{"Data is appended to", "a backend does not modify memory that it is given", createWith(func(ctx context.Context, h handle, r backend.Record) error {
		_ = append(r.Data, "checksum"...)
		return h.Create(ctx, r)
	})},

	{"pages are unsorted", inOrder, listWith(func(o backend.ListOptions, list sound) []backend.Record {
		page := list(o)
		slices.Reverse(page)
		return page
	})},
	{"pages repeat After", "List returns only IDs greater than After", listWith(func(o backend.ListOptions, list sound) []backend.Record {
		if o.After == "" {
			return list(o)
		}
		all := list(backend.ListOptions{Owner: o.Owner, Limit: 1000})
		from := slices.IndexFunc(all, func(r backend.Record) bool { return r.ID >= o.After })
		if from < 0 || from == len(all)-1 {
			return nil
		}
		return all[from:min(len(all), from+o.Limit)]
	})},
	{"pages hold a record twice", onceInWalk, listWith(func(o backend.ListOptions, list sound) []backend.Record {
		page := list(o)
		if n := len(page); n > 0 && n < o.Limit {
			page = append(page, page[n-1])
		}
		return page
	})},
	{"pages go by counting", allOnce, func(h handle) backend.Backend { return counting{h} }},
	{"pages need After to exist", notAfter, listWith(func(o backend.ListOptions, list sound) []backend.Record {
		all := list(backend.ListOptions{Limit: 1000})
		if o.After != "" && !slices.ContainsFunc(all, func(r backend.Record) bool { return r.ID == o.After }) {
			return nil
		}
		return list(o)
	})},
	{"pages are too long", "List returns at most o.Limit records", listWith(func(o backend.ListOptions, list sound) []backend.Record {
		o.Limit++
		return list(o)
	})},
	{"pages end before the end", "only an empty page is the end", listWith(func(o backend.ListOptions, list sound) []backend.Record {
		return pick(list(backend.ListOptions{After: o.After, Limit: o.Limit}), func(owner string) bool { return o.Owner == "" || owner == o.Owner })
	})},
	{"pages never end", "a walk ends with an empty page", listWith(func(o backend.ListOptions, list sound) []backend.Record {
		if page := list(o); len(page) > 0 {
			return page
		}
		return []backend.Record{{ID: o.After + "0", Owner: o.Owner}}
	})},
	{"owners in any case", "List returns only this owner's records", listWith(func(o backend.ListOptions, list sound) []backend.Record {
		return ownedBy(o, list, func(owner string) bool { return strings.EqualFold(owner, o.Owner) })
	})},
	{"owners by prefix", "List returns only this owner's records", listWith(func(o backend.ListOptions, list sound) []backend.Record {
		return ownedBy(o, list, func(owner string) bool { return strings.HasPrefix(owner, o.Owner) })
	})},
	{"owners with stars are patterns", onlyThisOwner, listWith(func(o backend.ListOptions, list sound) []backend.Record {
		if strings.ContainsAny(o.Owner, "*?[") {
			return nil
		}
		return list(o)
	})},
	{"records share one buffer", "what a backend returns belongs to the caller", listWith(func(o backend.ListOptions, list sound) []backend.Record {
		page := list(o)
		var buffer []byte
		for _, r := range page {
			buffer = append(buffer, r.Data...)
		}
		at := 0
		for i, r := range page {
			page[i].Data = buffer[at : at+len(r.Data)]
			at += len(r.Data)
		}
		return page
	})},
}

// sound is the List of a sound backend.
type sound = func(o backend.ListOptions) []backend.Record

func listWith(list func(o backend.ListOptions, list sound) []backend.Record) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return relisted{h, list} }
}

func alter(change func(r *backend.Record)) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return altered{h, change} }
}

// ownedBy is a page of the owners that is accepts, or of all.
func ownedBy(o backend.ListOptions, list sound, is func(owner string) bool) []backend.Record {
	if o.Owner == "" {
		return list(o)
	}
	all := pick(list(backend.ListOptions{After: o.After, Limit: 1000}), is)
	return all[:min(len(all), o.Limit)]
}

func pick(page []backend.Record, is func(owner string) bool) []backend.Record {
	return slices.DeleteFunc(page, func(r backend.Record) bool { return !is(r.Owner) })
}

type brokenGet struct {
	handle
	get func(h handle, r backend.Record, err error) (backend.Record, error)
}

func (b brokenGet) Get(ctx context.Context, id string) (backend.Record, error) {
	r, err := b.handle.Get(ctx, id)
	return b.get(b.handle, r, err)
}

func getWith(get func(h handle, r backend.Record, err error) (backend.Record, error)) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenGet{h, get} }
}

// keeping keeps the memory that Create is given.
type keeping struct{ handle }

func (b keeping) Create(ctx context.Context, r backend.Record) error {
	b.side.Lock()
	defer b.side.Unlock()
	b.side.records[r.ID] = r
	return b.handle.Create(ctx, r)
}

func (b keeping) Get(ctx context.Context, id string) (backend.Record, error) {
	b.side.Lock()
	defer b.side.Unlock()
	r, err := b.handle.Get(ctx, id)
	if r.Revision == 1 {
		r.Data = bytes.Clone(b.side.records[id].Data)
	}
	return r, err
}

// anyCase finds a record by its ID in upper or lower case.
type anyCase struct{ handle }

func (b anyCase) Get(ctx context.Context, id string) (backend.Record, error) {
	r, err := b.handle.Get(ctx, id)
	for _, other := range b.everything() {
		if errors.Is(err, backend.ErrNotFound) && strings.EqualFold(other.ID, id) {
			return other, nil
		}
	}
	return r, err
}

// stale caches what it has read until it writes itself.
type stale struct {
	handle
	cache map[string]backend.Record
}

func (b stale) Get(ctx context.Context, id string) (backend.Record, error) {
	b.side.Lock()
	defer b.side.Unlock()
	if r, ok := b.cache[id]; ok && ctx.Err() == nil {
		r.Data = bytes.Clone(r.Data)
		return r, nil
	}
	r, err := b.handle.Get(ctx, id)
	if err == nil {
		b.cache[id] = r
		r.Data = bytes.Clone(r.Data)
	}
	return r, err
}

// counting finds the next page by the number of records before it, which it
// learned when it listed them.
type counting struct{ handle }

func (b counting) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	all, err := b.handle.List(ctx, backend.ListOptions{Owner: o.Owner, Limit: 1000})
	b.side.Lock()
	defer b.side.Unlock()
	from := 0
	if o.After != "" {
		from = int(b.side.records[o.Owner+" "+o.After].Revision)
	}
	page := all[min(len(all), from):min(len(all), from+o.Limit)]
	for i, r := range page {
		b.side.records[o.Owner+" "+r.ID] = backend.Record{Revision: uint64(from + i + 1)}
	}
	return page, err
}
