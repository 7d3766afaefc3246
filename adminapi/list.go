package adminapi

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"example.com/keystore"
)

// The bounds of a page.
const (
	defaultLimit = 50
	maxLimit     = 200
	maxExamined  = 1000 // records, so that a filter that finds little cannot walk over the whole store
)

type listAnswer struct {
	Keys    []keyView `json:"keys" nullable:"false"`
	Damaged []string  `json:"damaged" nullable:"false" doc:"Ids of records that cannot be read."`
	Next    *string   `json:"next" doc:"The cursor of the page that follows, which may be there though this one is empty; null: this is the last one."`
}

// listing is what a page is asked for.
type listing struct {
	owner  string
	after  string
	limit  int
	state  keystore.State
	before time.Time // expiring before it; zero: no filter
	since  time.Time // not used since; zero: no filter
}

func (c *call) list() (answer, error) {
	l, err := c.parseListing()
	if err != nil {
		return answer{}, err
	}
	page := listAnswer{Keys: []keyView{}, Damaged: []string{}}
	for left := maxExamined; len(page.Keys) < l.limit && left > 0; {
		part := min(l.limit, left)
		if l.filters() {
			part = min(maxLimit, left)
		}
		keys, next, err := c.keys.List(c.r.Context(), keystore.ListParams{Owner: l.owner, After: l.after, Limit: part})
		if err != nil && !errors.Is(err, keystore.ErrCorrupt) {
			return answer{}, inQuery(err)
		}
		left -= part
		l.after = next
		for i, k := range keys {
			if view := c.view(k); l.wants(k, view.State) {
				page.Keys = append(page.Keys, view)
			}
			if len(page.Keys) == l.limit && (next != "" || i < len(keys)-1) {
				l.after = k.ID // the next page goes on behind it
				break
			}
		}
		page.addDamaged(err, l.after)
		if l.after == "" {
			return answer{body: page}, nil
		}
	}
	page.Next = &l.after
	return answer{body: page}, nil
}

// addDamaged adds the ids of damaged records that an error of List names, as far as
// the page goes; end is "" for all.
func (p *listAnswer) addDamaged(err error, end string) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, damaged := range joined.Unwrap() {
		var of *keystore.KeyError
		if errors.As(damaged, &of) && (end == "" || of.ID <= end) {
			p.Damaged = append(p.Damaged, of.ID)
		}
	}
}

func (l *listing) filters() bool { return l.state != "" || !l.before.IsZero() || !l.since.IsZero() }

// wants reports whether a key passes the filters. A key that was never used counts
// from its creation, so that a new one is not taken for an idle one.
func (l *listing) wants(k keystore.Key, state keystore.State) bool {
	used := k.LastUsedAt
	if used.IsZero() {
		used = k.CreatedAt
	}
	return (l.state == "" || state == l.state) &&
		(l.before.IsZero() || !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(l.before)) &&
		(l.since.IsZero() || used.Before(l.since))
}

func (c *call) parseListing() (l listing, err error) {
	l = listing{owner: c.query["owner"], after: c.query["cursor"], limit: defaultLimit}
	if own := c.grant.Owner; own != "" && l.owner != "" && l.owner != own {
		return l, beyond("query.owner", "You may only list keys of your own.")
	}
	if text, ok := c.query["limit"]; ok {
		l.limit, err = strconv.Atoi(text)
		if err != nil || l.limit < 1 || l.limit > maxLimit {
			return l, invalid("query.limit", "It must be a whole number from 1 to 200.")
		}
	}
	if text, ok := c.query["state"]; ok {
		if l.state = keystore.State(text); !slices.Contains(states, l.state) {
			return l, invalid("query.state", "It must be active, disabled, expired or revoked.")
		}
	}
	if l.before, err = c.time("expiring_before"); err != nil {
		return l, err
	}
	l.since, err = c.time("unused_since")
	return l, err
}

var states = []keystore.State{keystore.Active, keystore.Disabled, keystore.Expired, keystore.Revoked}

// time reads a time in the query, zero if it is not there.
func (c *call) time(name string) (time.Time, error) {
	text, ok := c.query[name]
	if !ok {
		return time.Time{}, nil
	}
	var t timestamp
	if t.UnmarshalJSON([]byte(strconv.Quote(text))) != nil {
		return time.Time{}, invalid("query."+name, "It must be a time such as 2027-01-31T12:00:00Z.")
	}
	return t.Time, nil
}
