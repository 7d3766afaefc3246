package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
	"example.com/keystore/internal/hub"
)

const (
	// clockSlack is how far the clocks of the servers may be apart, and how long
	// a majority may take to get a change.
	clockSlack = 10 * time.Second

	// idleWindow is how far back from its last poll a watcher asks when nothing
	// happens: not again and again for all that happened last.
	idleWindow = time.Minute

	// maxGap is how long a watcher may be away and still know by the tombstones
	// what was deleted.
	maxGap = tombstoneLife / 2

	// maxChanges is how many documents a watcher takes in one poll.
	maxChanges = 10_000

	pollTimeout = 5 * time.Second
)

// Watch implements [backend.Watcher]. It asks every Options.PollInterval for the
// documents whose last change, by the server's clock, is not older than 10 s
// before the newest one. After a poll that failed, after too many changes at
// once and after a clock that was set back by more than 10 s it sends "".
func (b *Backend) Watch(ctx context.Context) (<-chan string, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	w := &watcher{b: b}
	if err := w.begin(ctx); err != nil {
		return nil, b.readAnswer(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed() {
		return nil, backend.ErrClosed
	}
	changes := w.changes.Watch(ctx, b.life.Done())
	b.background.Go(func() { w.run(ctx) })
	return changes, nil
}

// watcher follows the changes of a store for one reader. The hub lets the reader
// be as slow as it likes.
type watcher struct {
	b       *Backend
	changes hub.Hub
	seen    map[string]int64 // the documents of the last poll, and their write ids
	now     time.Time        // the latest that the server's clock has said
	polled  time.Time        // what it said before the last poll that was answered
	newest  time.Time        // the latest change seen
	from    time.Time        // changes from here on are asked for
}

// change is what a watcher reads of a document.
type change struct {
	ID      string    `bson:"_id"`
	WriteID int64     `bson:"write_id"`
	Changed time.Time `bson:"changed"`
}

var errTooMany = errors.New("mongo: more changes at once than can be followed")

// begin notes what is there, so that only what comes later is told.
func (w *watcher) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	now, err := w.b.serverTime(ctx)
	if err != nil {
		return err
	}
	w.restart(now)
	_, err = w.poll(ctx)
	if errors.Is(err, errTooMany) {
		return nil // all of them will be told, or ""
	}
	return err
}

// restart forgets what was seen: whoever reads has to be told "".
func (w *watcher) restart(now time.Time) {
	w.now, w.polled, w.newest, w.from, w.seen = now, now, now, now.Add(-clockSlack), nil
}

func (w *watcher) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.b.life, cancel)()
	tick := time.NewTicker(w.b.opts.PollInterval)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ids, err := w.next(ctx)
		if err != nil {
			if !failing && ctx.Err() == nil {
				w.b.log.Warn("changes cannot be followed for now", "error", err)
			}
			failing = true
			continue
		}
		if failing {
			w.changes.Notify("")
		}
		failing = false
		for _, id := range ids {
			w.changes.Notify(id)
		}
	}
}

// next returns the ids that changed since the last poll; "" among them means
// that there may be others.
func (w *watcher) next(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	now, err := w.b.serverTime(ctx)
	if err != nil {
		return nil, err
	}
	lost := false
	if now.Before(w.now.Add(-clockSlack)) || now.After(w.now.Add(maxGap)) {
		w.restart(now)
		lost = true
	}
	w.advance(now)
	ids, err := w.poll(ctx)
	if errors.Is(err, errTooMany) {
		w.restart(now)
		return []string{""}, nil
	}
	if err == nil {
		w.polled = now
	}
	if lost {
		ids = append(ids, "")
	}
	return ids, err
}

// advance moves the beginning of the window: it stays clockSlack behind the
// newest change, so that one is still found that a server with a slower clock
// made, or that a majority got later, and idleWindow behind the last poll, which
// may be minutes ago.
func (w *watcher) advance(now time.Time) {
	if now.After(w.now) {
		w.now = now
	}
	newest := w.newest
	if newest.After(w.polled) { // by a clock that is ahead
		newest = w.polled
	}
	from := newest.Add(-clockSlack)
	if idle := w.polled.Add(-idleWindow); from.Before(idle) {
		from = idle
	}
	if from.After(w.from) {
		w.from = from
	}
}

// poll asks for the changes in the window, and returns those not seen before.
func (w *watcher) poll(ctx context.Context) ([]string, error) {
	filter := doc(fieldChanged, doc("$gte", bson.NewDateTimeFromTime(w.from)))
	cursor, err := w.b.find(ctx, w.b.keys, filter, doc(fieldChanged, 1), maxChanges+1, fieldWriteID, fieldChanged)
	if err != nil {
		return nil, fmt.Errorf("mongo: asking for changes: %w", err)
	}
	defer cursor.Close(ctx) //nolint:errcheck // what matters has been read
	var ids []string
	seen := make(map[string]int64)
	for cursor.Next(ctx) {
		var c change
		if err := cursor.Decode(&c); err != nil {
			continue // no document of ours
		}
		if len(seen) == maxChanges {
			return nil, errTooMany
		}
		seen[c.ID] = c.WriteID
		if id, before := w.seen[c.ID]; !before || id != c.WriteID {
			ids = append(ids, c.ID)
		}
		if c.Changed.After(w.newest) {
			w.newest = c.Changed
		}
	}
	if err := cursor.Err(); err != nil {
		return nil, fmt.Errorf("mongo: asking for changes: %w", err)
	}
	w.seen = seen
	return ids, nil
}
