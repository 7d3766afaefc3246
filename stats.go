package keystore

import (
	"sync/atomic"
	"time"
)

// WatchState says whether a Keystore hears of the changes that others make.
type WatchState string

// The states of a Watch. Whatever it is, the bound on staleness holds.
const (
	WatchOff         WatchState = "off"         // there is no cache
	WatchUnsupported WatchState = "unsupported" // the backend is no backend.Watcher
	WatchActive      WatchState = "active"
	WatchLost        WatchState = "lost" // or not made yet; it is being tried again
)

// Stats counts what the read cache, the audit, limits and usage did since the Keystore was made.
type Stats struct {
	Hits      uint64 // lookups that needed no read; those of malformed tokens do not count
	Misses    uint64 // lookups that made a read or waited for one
	StaleHits uint64 // lookups accepted past the bound by Options.StaleIfUnavailable
	Evictions uint64 // keys in use that left for want of room
	Flushes   uint64 // times that everything was dropped, since changes may have been missed
	Entries   int    // keys that a token proved; with StaleIfUnavailable also those that a flush has dropped
	Watch     WatchState
	AuditLost uint64        // events that Options.Audit never got; cache or not
	UsageLost uint64        // lookups that were not counted for want of room, those for damaged tallies not among them; cache or not
	Unchecked uint64        // lookups that passed unchecked by LimitsOpen; cache or not
	Bound     time.Duration // how long after a change elsewhere has returned a lookup that begins may miss it: Options.CacheTTL, and StaleIfUnavailable on top while the store fails; 0: there is no cache
}

// Stats returns what the read cache and the audit did. It is cheap enough to be called every
// second.
func (s *Keystore) Stats() Stats {
	c := s.cache
	if c == nil {
		return Stats{Watch: WatchOff, AuditLost: s.trail.lost(), UsageLost: s.usage.lost.Load(), Unchecked: s.unchecked.Load()}
	}
	n := &c.counts
	stats := Stats{
		Misses: n.misses.Load(), StaleHits: n.stale.Load(),
		Evictions: n.evictions.Load(), Flushes: n.flushes.Load(),
		Entries: c.proven.Len(), Watch: n.watch.Load().(WatchState), Bound: c.ttl,
		AuditLost: s.trail.lost(), UsageLost: s.usage.lost.Load(), Unchecked: s.unchecked.Load(),
	}
	for i := range n.hits {
		stats.Hits += n.hits[i].Load()
	}
	if c.outage.next.Load() != 0 {
		stats.Bound += c.stale
	}
	return stats
}

// counts are kept apart by what is counted often, so that callers on different
// cores do not wait for each other's cache lines.
type counts struct {
	hits                              [64]paddedCount
	misses, stale, evictions, flushes atomic.Uint64
	watch                             atomic.Value // WatchState
}

type paddedCount struct {
	atomic.Uint64
	_ [56]byte
}

func (n *counts) hit(id string) { n.hits[id[len(id)-1]%64].Add(1) }

func (n *counts) evicted(keys int) {
	if keys > 0 {
		n.evictions.Add(uint64(keys))
	}
}
