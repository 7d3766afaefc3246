package badger

import (
	"sync"

	"example.com/keystore/internal/envelope"
)

// purged remembers how far an index by time has been worked off. Badger keeps
// deleted entries until it compacts them away: without this every Purge would
// walk over all those that the ones before it left.
type purged struct {
	mu      sync.Mutex
	to      entry         // no entry up to and with this one needs purging
	until   envelope.Time // the latest time that a Purge asked for
	entered uint64        // entries made since, with a time up to until
}

// begin returns where a Purge may start, and what it must give to advance.
func (p *purged) begin(until envelope.Time) (from entry, entered uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = max(p.until, until)
	return p.to, p.entered
}

// advance notes that the entries up to and with to were dealt with, unless some
// were made since begin, which the Purge may not have seen.
func (p *purged) advance(to entry, entered uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.entered == entered && p.to.before(to) {
		p.to = to
	}
}

// enter notes a committed entry of the index, or several, at the earliest of their
// times.
func (p *purged) enter(at envelope.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at > p.until {
		return // no Purge has come that far
	}
	p.entered++
	if at <= p.to.at {
		p.to = entry{at: at} // comes before every id at that time
	}
}
