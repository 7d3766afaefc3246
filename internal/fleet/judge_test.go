package fleet

import (
	"fmt"
	"time"
)

// slot is how long a lookup with a wrong secret, or a new one, may wait for its turn
// to have the key read: one of 20 a second.
const slot = 50 * time.Millisecond

// verdict is what is to be said of one change.
type verdict struct {
	Kind kind
	// Lag is from the return of the change until the last lookup elsewhere began that
	// was accepted in spite of it; 0 if none began after the return.
	Lag time.Duration
	// Violations are what must not be, in words.
	Violations []string
	// Void says why the change proves nothing.
	Void []string
	// Cached is how many readers had the key in their caches when the change was called.
	Cached int
	// Heard is how many readers heard of the change.
	Heard int
	// Refusals of the new token, which began after the change had returned.
	Refusals int
	// Fresh is from the return of the change until a lookup with the new token had
	// been accepted, where that took longest. It includes the way of the token there.
	Fresh time.Duration
	// Longest is what a lookup with the new token took that was accepted.
	Longest time.Duration
	Tries   int
}

// judge holds what readers saw of a key against what was done with it. bound is how
// long they may overlook that, counted from its return.
func judge(c change, readers []observation, bound time.Duration) verdict {
	v := verdict{Kind: c.Key.Kind, Tries: c.Tries}
	for i, o := range readers {
		v.judgeOld(i, c, o.Old, bound)
		if c.Key.Kind == renew {
			v.judgeNew(i, c, o.New)
		}
		if o.Heard {
			v.Heard++
		}
		for _, w := range o.Wrong {
			v.violation(i, c, "an answer that is never right: %s", w)
		}
	}
	return v
}

func (v *verdict) judgeOld(reader int, c change, o oldToken, bound time.Duration) {
	lag := max(0, time.Duration(o.LastAccepted-c.Returned))
	v.Lag = max(v.Lag, lag)
	if lag > bound {
		v.violation(reader, c, "accepted in a lookup that began %v after its return, %v later than it may", lag, lag-bound)
	}
	// That a good key is refused is no matter of the cache's age.
	if first := o.FirstRefusal; o.Refused > 0 && first.Ended < c.Called {
		v.violation(reader, c, "refused (%s) %v before it was called", first.Reason, time.Duration(c.Called-first.Ended))
	}
	if o.LastAnswered <= c.Returned+int64(bound) {
		v.void(reader, c, "no lookup was answered that began later than the bound")
	}
	if o.cachedAt(c.Called) {
		v.Cached++
	}
}

// cachedAt reports whether the key was in the cache at a time: a lookup before it, and
// all from then on until after it, needed no read.
func (o oldToken) cachedAt(at int64) bool {
	for _, h := range o.Hits {
		if h.First <= at && (h.Ended == 0 || h.Ended > at) {
			return true
		}
	}
	return false
}

func (v *verdict) judgeNew(reader int, c change, n newToken) {
	v.Refusals += n.Refused
	if last := n.LastRefusal; n.Refused > 0 && last.Began > c.Returned+int64(slot) {
		v.violation(reader, c, "its token was refused (%s, in %v) by a lookup that began %v after its return, %d times in all",
			last.Reason, time.Duration(last.Ended-last.Began), time.Duration(last.Began-c.Returned), n.Refused)
	}
	if n.Accepted == 0 {
		v.void(reader, c, "its token was never accepted: %d refusals, %d outages", n.Refused, n.Outages)
		return
	}
	v.Fresh = max(v.Fresh, time.Duration(n.FirstAccepted.Ended-c.Returned))
	v.Longest = max(v.Longest, time.Duration(n.Longest))
}

func (v *verdict) violation(reader int, c change, format string, args ...any) {
	v.Violations = append(v.Violations, describe(reader, c, format, args))
}

func (v *verdict) void(reader int, c change, format string, args ...any) {
	v.Void = append(v.Void, describe(reader, c, format, args))
}

func describe(reader int, c change, format string, args []any) string {
	return fmt.Sprintf("%s of key %s (after %d tries), reader %d: ", c.Key.Kind, c.Key.ID, c.Tries, reader) + fmt.Sprintf(format, args...)
}
