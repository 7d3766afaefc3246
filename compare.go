package keystore

import (
	"context"
	"time"

	"example.com/keystore/backend"
)

// CompareOptions configure [Compare]. A nil *CompareOptions and zero fields mean
// the defaults.
type CompareOptions struct {
	// OpTimeout bounds each call of a backend, as in CopyOptions.
	OpTimeout time.Duration
	// Progress, if not nil, is called every few hundred keys, on the goroutine
	// of Compare.
	Progress func(CompareResult)
}

// CompareResult counts the keys of two stores. Each is in one of the numbers up
// to Extra.
type CompareResult struct {
	Same     int64 // in both stores, equal to the byte
	Missing  int64 // not in the target
	Older    int64 // the target has an older state
	Newer    int64 // the target has a newer state
	Diverged int64 // changed in both stores, or owned by two
	Damaged  int64 // in the source, and there or in both stores unreadable
	Extra    int64 // not in the source

	// UsedLater counts keys in both stores whose last use in the source is
	// later than the target knows. That is no difference: it changes by the
	// second while programs run, and decides nothing.
	UsedLater int64

	// Differences are the first 100, in the order of the ids.
	Differences []Difference
}

// Different is how many keys are not the same in both stores.
func (r *CompareResult) Different() int64 {
	return r.Missing + r.Older + r.Newer + r.Diverged + r.Damaged + r.Extra
}

// Difference is a key that is not the same in both stores.
type Difference struct {
	ID   string
	Kind string // "missing", "older", "newer", "diverged", "damaged" or "extra": what the target's is
	Err  error  // says more of one that diverged or is damaged
}

// Compare tells how far the target holds what the source does, and changes
// nothing. Two states of a key are told apart as by [Copy]; revisions do not
// count.
//
// It reads both stores in step, in pages, and holds at most 1000 records at a
// time. It sees no single moment: a key that a program changes meanwhile may be
// reported, rightly or not. What a second run reports again is a difference.
//
// Differences are no error. Errors: ErrInvalid for the options; ErrUnavailable
// if a store failed or ctx ended, with the numbers so far.
func Compare(ctx context.Context, from, to backend.Backend, o *CompareOptions) (CompareResult, error) {
	if o == nil {
		o = &CompareOptions{}
	}
	var result CompareResult
	source, err := newSide("source", from, Options{OpTimeout: o.OpTimeout}, "", 0)
	if err != nil {
		return result, err
	}
	defer source.Close()
	target, err := newSide("target", to, Options{OpTimeout: o.OpTimeout}, "", 0)
	if err != nil {
		return result, err
	}
	defer target.Close()
	seen := 0
	for t, err := range merged(ctx, source, target) {
		if err != nil {
			return result, err
		}
		result.count(t)
		if seen++; seen%copyPage == 0 && o.Progress != nil {
			o.Progress(result)
		}
	}
	return result, nil
}

func (r *CompareResult) count(t twins) {
	if t.from != nil && t.to != nil && t.usedLater() {
		r.UsedLater++
	}
	rel, problem := t.relation()
	d := Difference{Err: problem}
	switch rel {
	case isSame:
		r.Same++
		return
	case isMissing:
		r.Missing++
		d.Kind = "missing"
	case isOlder:
		r.Older++
		d.Kind = "older"
	case isNewer:
		r.Newer++
		d.Kind = "newer"
	case isDiverged, isUnrevoked:
		r.Diverged++
		d.Kind = "diverged"
	case isDamaged:
		r.Damaged++
		d.Kind = "damaged"
	case isExtra:
		r.Extra++
		d.Kind = "extra"
	}
	if t.from != nil {
		d.ID = t.from.ID
	} else {
		d.ID = t.to.ID
	}
	if len(r.Differences) < maxProblems {
		r.Differences = append(r.Differences, d)
	}
}
