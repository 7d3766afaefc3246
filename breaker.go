package keystore

import (
	"sync/atomic"
	"time"
)

const (
	breakAfter = 3 // failures in a row: one key whose counts are damaged is no outage, beside others
	breakTime  = time.Second

	// A caller that gives up sooner says nothing of the store: else who gives up at
	// once, again and again, would open the breaker, and pass unchecked.
	breakPatience = 100 * time.Millisecond
)

// breaker keeps the lookups that may pass unchecked from waiting, each of them,
// for a store that does not answer.
type breaker struct {
	on       bool // Options.LimitFailure is LimitsOpen
	start    time.Time
	failures atomic.Int32 // in a row
	next     atomic.Int64 // nanoseconds since start at which the store is asked again
}

// open reports whether the store should be left alone. One call is let through when
// a breakTime has passed since the last failure, and then one each breakTime.
func (b *breaker) open() bool {
	if !b.on || b.failures.Load() < breakAfter {
		return false
	}
	now, next := int64(time.Since(b.start)), b.next.Load()
	return now < next || !b.next.CompareAndSwap(next, now+int64(breakTime))
}

// note is told how a call of the store ended.
func (b *breaker) note(err error) {
	switch {
	case !b.on:
	case err == nil:
		if b.failures.Load() != 0 {
			b.failures.Store(0)
		}
	case b.failures.Load() >= breakAfter || b.failures.Add(1) >= breakAfter:
		b.next.Store(int64(time.Since(b.start) + breakTime))
	}
}
