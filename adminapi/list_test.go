package adminapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// pages lists to the end and returns the ids that each page showed, and those that
// are damaged.
func (s *site) pages(token, query string) (pages [][]string, damaged []string) {
	s.t.Helper()
	for cursor := ""; ; {
		path := "/keys?" + query + cursor
		got := s.do(request{method: "GET", path: path, token: token}).want(s.t, 200, "")
		page := []string{}
		for _, k := range got.body["keys"].([]any) {
			page = append(page, k.(map[string]any)["id"].(string))
		}
		pages = append(pages, page)
		for _, id := range got.body["damaged"].([]any) {
			damaged = append(damaged, id.(string))
		}
		next, more := got.body["next"].(string)
		if !more {
			return pages, damaged
		}
		require.Less(s.t, len(pages), 100, "the listing does not end")
		cursor = "&cursor=" + next
	}
}

func TestListFilters(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(everything))
	ids := map[string]string{}
	for name, p := range map[string]keystore.KeyParams{
		"plain":   {Owner: "alice"},
		"soon":    {Owner: "alice", ExpiresAt: inDays(1)},
		"later":   {Owner: "bob", ExpiresAt: inDays(10)},
		"off":     {Owner: "bob"},
		"revoked": {Owner: "alice"},
	} {
		k, _ := s.key(p)
		ids[name] = k.ID
	}
	s.do(request{method: "POST", path: "/keys/" + ids["off"] + "/disable"}).want(t, 200, "")
	s.do(request{method: "POST", path: "/keys/" + ids["revoked"] + "/revoke"}).want(t, 200, "")
	day := func(n int) string { return inDays(n).Format(time.RFC3339) }
	for query, want := range map[string][]string{
		"":                                      {"plain", "soon", "later", "off", "revoked"},
		"owner=alice":                           {"plain", "soon", "revoked"},
		"owner=nobody":                          {},
		"state=active":                          {"plain", "soon", "later"},
		"state=disabled":                        {"off"},
		"state=revoked&owner=bob":               {},
		"expiring_before=" + day(2):             {"soon"},
		"expiring_before=" + day(20):            {"soon", "later"},
		"unused_since=" + day(-1):               {},
		"unused_since=" + day(1):                {"plain", "soon", "later", "off", "revoked"},
		"unused_since=" + day(1) + "&owner=bob": {"later", "off"},
	} {
		for _, limit := range []string{"", "&limit=1", "&limit=2"} {
			pages, _ := s.pages("", query+limit)
			var names []string
			for _, id := range slices.Concat(pages...) {
				for name, of := range ids {
					if id == of {
						names = append(names, name)
					}
				}
			}
			assert.ElementsMatch(t, want, names, query+limit)
			for _, page := range pages {
				if limit != "" {
					assert.LessOrEqual(t, fmt.Sprint(len(page)), limit[len("&limit="):])
				}
			}
		}
	}
}

// TestUnusedSince counts the use of a key, not only its creation.
func TestUnusedSince(t *testing.T) {
	store := memory.New()
	s := newSite(t, store, keystore.Options{}, as(everything))
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})
	require.NoError(t, store.Touch(t.Context(), map[string]time.Time{k.ID: inDays(5)}))
	for day, listed := range map[int]int{4: 0, 6: 1} {
		pages, _ := s.pages("", "unused_since="+inDays(day).Format(time.RFC3339))
		assert.Len(t, pages[0], listed, day)
	}
}

// TestListExaminesAThousand: a filter that finds nothing gives empty pages, with a
// cursor, and in the end every key that there is.
func TestListExaminesAThousand(t *testing.T) {
	store := faulty.New(memory.New(), nil)
	start, ticks := time.Now(), atomic.Int64{}
	clock := func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Millisecond) } // ids in order of creation
	s := newSite(t, store, keystore.Options{Now: clock}, as(everything))
	for range 2100 {
		s.key(keystore.KeyParams{Owner: "alice"})
	}
	last, _ := s.key(keystore.KeyParams{Owner: "bob", ExpiresAt: inDays(1)})
	pages, _ := s.pages("", "limit=7&expiring_before="+inDays(2).Format(time.RFC3339))
	assert.Equal(t, [][]string{{}, {}, {last.ID}}, pages)

	// One page is at most five calls of the store, of 201 records at most each.
	before := store.Calls(faulty.List)
	s.do(request{method: "GET", path: "/keys?state=revoked"}).want(t, 200, "")
	assert.LessOrEqual(t, store.Calls(faulty.List)-before, 5)

	all, _ := s.pages("", "limit=200")
	flat := slices.Concat(all...)
	assert.Len(t, flat, 2101)
	assert.True(t, slices.IsSorted(flat))
	assert.Len(t, slices.Compact(flat), 2101)
}

// TestListDamaged: a damaged record is listed by its id, once, and does not stop
// the listing.
func TestListDamaged(t *testing.T) {
	store := &damaging{Backend: memory.New()}
	s := newSite(t, store, keystore.Options{}, as(everything))
	var good, bad []string
	for i := range 10 {
		k, _ := s.key(keystore.KeyParams{Owner: "alice"})
		if i%3 == 0 {
			bad = append(bad, k.ID)
		} else {
			good = append(good, k.ID)
		}
	}
	store.ids = bad
	slices.Sort(good)
	for _, query := range []string{"", "limit=1", "limit=2", "limit=3", "state=active", "state=active&limit=2"} {
		pages, damaged := s.pages("", query)
		assert.Equal(t, good, slices.Concat(pages...), query)
		assert.ElementsMatch(t, bad, damaged, query)
	}
	s.do(request{method: "GET", path: "/keys/" + bad[0]}).want(t, 503, "corrupt")
	s.do(request{method: "POST", path: "/keys/" + bad[0] + "/revoke"}).want(t, 503, "corrupt")
	s.do(request{method: "DELETE", path: "/keys/" + bad[0]}).want(t, 204, "")
}

// damaging spoils what it reads of some records.
type damaging struct {
	backend.Backend
	ids []string
}

func (d *damaging) spoil(r *backend.Record) {
	if slices.Contains(d.ids, r.ID) {
		r.Data = []byte(strings.Repeat("x", 40))
	}
}

func (d *damaging) Get(ctx context.Context, id string) (backend.Record, error) {
	r, err := d.Backend.Get(ctx, id)
	d.spoil(&r)
	return r, err
}

func (d *damaging) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	list, err := d.Backend.List(ctx, o)
	for i := range list {
		d.spoil(&list[i])
	}
	return list, err
}
