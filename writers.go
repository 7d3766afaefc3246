package keystore

import (
	"context"
	"hash/maphash"
	"sync/atomic"
)

// The compare-and-swap needs nothing of what follows. But a writer that was
// overtaken by more others than a record remembers write ids cannot know whether
// a conflict is with its own write, and in one busy process that would happen
// to one in a thousand. So the writers of one key in a Keystore send one at a
// time, and a writer that finds others to have sent since it read, be it by
// another Keystore of the process, looks again before it sends too.

// writers holds a lock for each of the ids that share a slot. No function of the
// program's is called while it is held.
type writers [256]chan struct{} // locked while full

func newWriters() *writers {
	var w writers
	for i := range w {
		w[i] = make(chan struct{}, 1)
	}
	return &w
}

// lock waits for the lock of an id, until ctx ends, and returns how to unlock.
func (w *writers) lock(ctx context.Context, id string) (unlock func(), err error) {
	lock := w[slotOf(id)]
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sent counts the writes that the process has sent, by slot. Ids that share one
// cost each other a read.
var sent [256]atomic.Uint64

var slotSeed = maphash.MakeSeed()

func slotOf(id string) uint64 { return maphash.String(slotSeed, id) % 256 }
