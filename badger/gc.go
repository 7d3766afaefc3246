package badger

import (
	"errors"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
)

// collectGarbage reclaims space in the value log until the handle is closed.
// What the driver stores is too small to go there, so it has work only in a
// folder that something else has used too.
func (b *Backend) collectGarbage(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-b.closing:
			return
		case <-tick.C:
		}
		if err := b.rewriteValueLog(); err != nil {
			b.log.Warn("garbage collection of the value log failed", "error", err)
		}
	}
}

func (b *Backend) rewriteValueLog() (err error) {
	defer contain(b.db, &err)
	for {
		select {
		case <-b.closing:
			return nil
		default:
		}
		if err := b.space.check(fullReserve); err != nil {
			return err
		}
		// Half of a file unused: Badger's own advice. One file a call.
		err := b.db.RunValueLogGC(0.5)
		if errors.Is(err, badgerdb.ErrNoRewrite) || errors.Is(err, badgerdb.ErrRejected) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
