package keystore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	refusedEvery   = 10 * time.Second // how often the sums of failed lookups are delivered
	maxRefusedKeys = 1024             // keys, each with a reason, that are told apart meanwhile
	maxUnproven    = 64               // of them, those whose id may be anybody's invention
)

// refusals sums failed lookups by kind: reason and key id, or the reason alone
// where there is no room for the key. One of a kind that has a sum already costs
// a read lock and an atomic addition.
type refusals struct {
	mu       sync.RWMutex
	kinds    map[refusalKind]*refusal
	keys     int // kinds with an id
	unproven int // of them, kinds whose id no store has confirmed
	ended    bool
}

type refusalKind struct {
	reason Reason
	id     string
}

type refusal struct {
	first Event        // of the sum
	sum   atomic.Int64 // failures that no event tells of yet; written under the lock, but for additions to what is not 0
}

func newRefusals() refusals { return refusals{kinds: make(map[refusalKind]*refusal)} }

// refused takes a failed lookup. The first of its kind is an event at once, if
// the queue has room; those that follow are summed. It waits neither for the
// Auditor nor for room.
func (t *auditTrail) refused(ctx context.Context, err *LookupError) {
	if t == nil || t.refusals.again(err) {
		return
	}
	e := t.complete(ctx, refusalEvent(err))
	r := &t.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	kind := r.kind(err)
	if kind.id != err.KeyID {
		e.KeyID, e.Owner, e.Detail = "", "", ""
	}
	of := r.kinds[kind]
	if of == nil {
		of = r.insert(kind)
		if len(t.queue) < cap(t.queue)/2 && t.offer(e) { // the other half is for changes
			return
		}
	}
	if of.sum.Add(1) == 1 {
		of.first = e
	}
}

// again adds a failure to its sum, if there is one.
func (r *refusals) again(err *LookupError) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	of := r.kinds[r.kind(err)]
	if of == nil || of.sum.Load() == 0 {
		return false
	}
	of.sum.Add(1)
	return true
}

// kind is what the failure is summed under.
func (r *refusals) kind(err *LookupError) refusalKind {
	kind := refusalKind{err.Reason, err.KeyID}
	if r.kinds[kind] == nil && (r.keys >= maxRefusedKeys || unproven(err.Reason) && r.unproven >= maxUnproven) {
		kind.id = ""
	}
	return kind
}

func (r *refusals) insert(kind refusalKind) *refusal {
	kind.id = strings.Clone(kind.id) // a part of the token
	of := new(refusal)
	r.kinds[kind] = of
	r.count(kind, 1)
	return of
}

// count keeps the numbers of kinds as one comes or goes.
func (r *refusals) count(kind refusalKind, change int) {
	if kind.id == "" {
		return
	}
	r.keys += change
	if unproven(kind.reason) {
		r.unproven += change
	}
}

// take returns the sums and begins new ones. A kind of which there was none is
// forgotten, so that its next failure is told at once. After the last call
// nothing is summed any more.
func (r *refusals) take(last bool) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = r.ended || last
	var sums []Event
	for kind, of := range r.kinds {
		sum := of.sum.Swap(0)
		if sum == 0 {
			delete(r.kinds, kind)
			r.count(kind, -1)
			continue
		}
		e := of.first
		e.Count = int(sum)
		sums = append(sums, e)
	}
	slices.SortFunc(sums, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return sums
}

// unproven reports whether lookups that fail for this reason may name a key that
// does not exist.
func unproven(r Reason) bool {
	return r == ReasonUnknownKey || r == ReasonUnavailable || r == ReasonClosed
}

func refusalEvent(err *LookupError) Event {
	e := Event{
		Action: ActionLookup, Outcome: OutcomeRefused,
		KeyID: strings.Clone(err.KeyID), Owner: strings.Clone(err.Owner), Reason: err.Reason,
	}
	switch err.Reason {
	case ReasonUnknownHash, ReasonUnknownPlan, ReasonOwnerCheck, ReasonUnavailable, ReasonCorrupt, ReasonClosed:
		e.Outcome = OutcomeFailed
	}
	if !errors.Is(err, ErrUnauthenticated) { // whose text says no more than the reason
		e.Detail = err.Error()
	}
	return e
}
