package keystore

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	auditQueue    = 1024                  // events that wait for the Auditor
	auditBatch    = 256                   // of them in one call
	auditPauseMin = 50 * time.Millisecond // before a batch is tried again, doubling up to
	auditPauseMax = 5 * time.Second
	auditLogEvery = 10 * time.Second // for each kind of warning
	auditGrace    = time.Second      // for an Auditor to return after its context has ended, at close
)

// auditTrail delivers events to the Auditor, from one goroutine. Changes pass
// through a queue, in the order in which they are recorded; failed lookups are
// summed (audit_refused.go). All methods work on a nil trail, which costs them a
// nil check, and are safe for concurrent use.
type auditTrail struct {
	auditor Auditor
	timeout time.Duration // of one call of the Auditor, of a wait for room, and of close
	logger  *slog.Logger
	now     func() time.Time

	queue    chan Event
	refusals refusals

	mu      sync.Mutex
	closed  bool
	waiting sync.WaitGroup // calls of record; Add is called under mu, and not once it is closed
	closing sync.Once

	sealed chan struct{}   // closed when nothing comes into the queue any more
	done   chan struct{}   // closed when the goroutine has ended
	life   context.Context // of everything; ends when close gives up
	stop   context.CancelFunc

	accepted atomic.Uint64 // events that came into the queue or are sums
	settled  atomic.Uint64 // of these, events that were delivered or given up
	dropped  atomic.Uint64 // events that are lost, accepted or not
	logged   atomic.Uint64 // of these, as the last line of the log says

	// stuck says that a change has waited for room in vain, and that the Auditor
	// has taken nothing since.
	stuck atomic.Bool

	failing, dropping rarely
}

// newAuditTrail returns nil where there is no Auditor. close must be called in
// the end. A timeout that is none (Never) is closeBound.
func newAuditTrail(a Auditor, timeout time.Duration, logger *slog.Logger, now func() time.Time) *auditTrail {
	if a == nil {
		return nil
	}
	if timeout <= 0 {
		timeout = closeBound
	}
	t := &auditTrail{
		auditor: a, timeout: timeout, logger: logger, now: now,
		queue: make(chan Event, auditQueue), refusals: newRefusals(),
		sealed: make(chan struct{}), done: make(chan struct{}),
	}
	t.life, t.stop = context.WithCancel(context.Background())
	go t.run()
	return t
}

// record takes one event of a change. While the queue is full it waits, until the
// timeout or the end of ctx; then the event is dropped, counted and logged: the
// change has happened, and must not be reported as one that failed. It does not
// wait for an Auditor for which another has waited in vain: a RevokeAll of many
// keys would take a timeout for each.
func (t *auditTrail) record(ctx context.Context, e Event) {
	if t == nil {
		return
	}
	e = t.complete(ctx, e)
	if !t.enter() {
		t.drop(1, "the Keystore is closed")
		return
	}
	defer t.waiting.Done()
	if t.offer(e) {
		return
	}
	if t.stuck.Load() {
		t.drop(1, "the Auditor is stuck")
		return
	}
	timer := time.NewTimer(t.timeout)
	defer timer.Stop()
	select {
	case t.queue <- e:
		t.accepted.Add(1)
	case <-timer.C:
		t.stuck.Store(true)
		t.drop(1, "the Auditor is too slow")
	case <-ctx.Done():
		t.drop(1, "the Auditor is too slow for the context of the call")
	case <-t.life.Done():
		t.drop(1, "the Keystore is closed")
	}
}

// offer puts an event into the queue if there is room.
func (t *auditTrail) offer(e Event) bool {
	select {
	case t.queue <- e:
		t.accepted.Add(1)
		return true
	default:
		return false
	}
}

// enter reports whether the queue is open; if so, waiting.Done must follow.
func (t *auditTrail) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.waiting.Add(1)
	return true
}

// complete fills in what the event leaves open, and lets nothing pass that no
// event may hold.
func (t *auditTrail) complete(ctx context.Context, e Event) Event {
	if e.Time.IsZero() {
		e.Time = t.now()
	}
	e.Time = auditTime(e.Time)
	if e.Actor == "" {
		e.Actor = ActorFrom(ctx)
	}
	if e.RequestID == "" {
		e.RequestID = RequestIDFrom(ctx)
	}
	if e.Count == 0 && e.Action != ActionPurge {
		e.Count = 1
	}
	if !validID(e.KeyID) {
		e.KeyID = "" // what a caller passed by mistake, a token perhaps
	}
	e.Owner, e.Actor = auditText(e.Owner), auditText(e.Actor)
	e.RequestID, e.Detail = auditText(e.RequestID), auditText(e.Detail)
	return e
}

func (t *auditTrail) run() {
	defer close(t.done)
	tick := time.NewTicker(refusedEvery)
	defer tick.Stop()
	for {
		select {
		case e := <-t.queue:
			t.deliver(t.gather(e))
		case <-tick.C:
			t.logLost("")
			t.deliverAll(t.refusals.take(false))
		case <-t.sealed:
			sums := t.refusals.take(true)
			for len(t.queue) > 0 && t.life.Err() == nil {
				t.deliver(t.gather(<-t.queue))
			}
			t.deliverAll(sums)
			return
		}
	}
}

// gather makes a batch of an event and of those that wait behind it.
func (t *auditTrail) gather(first Event) []Event {
	batch := append(make([]Event, 0, min(1+len(t.queue), auditBatch)), first)
	for len(batch) < auditBatch {
		select {
		case e := <-t.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

func (t *auditTrail) deliverAll(sums []Event) {
	t.accepted.Add(uint64(len(sums)))
	for batch := range slices.Chunk(sums, auditBatch) {
		t.deliver(batch)
	}
}

// deliver gives the batch to the Auditor until it takes it. A batch that it has
// not taken within the timeout is dropped once there is no room for new events:
// one that it can never take must not stop all others.
func (t *auditTrail) deliver(batch []Event) {
	began := time.Now()
	sealed := t.sealed
	for pause := auditPauseMin; t.life.Err() == nil; pause = min(2*pause, auditPauseMax) {
		err := t.attempt(batch)
		if err == nil {
			t.stuck.Store(false)
			t.settled.Add(uint64(len(batch)))
			return
		}
		if t.failing.now() {
			t.logger.Warn("keystore: the Auditor failed; the same events will come again",
				"error", auditText(err.Error()), "events", len(batch), "waiting", len(t.queue))
		}
		if len(t.queue) == cap(t.queue) && time.Since(began) >= t.timeout {
			t.settled.Add(uint64(len(batch)))
			t.drop(len(batch), "the Auditor fails")
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-t.life.Done():
		case <-sealed:
			sealed, pause = nil, auditPauseMin // there is little time left
		}
		timer.Stop()
	}
}

// attempt is one call of the Auditor. A panic of it is an error.
func (t *auditTrail) attempt(batch []Event) (err error) {
	ctx, cancel := context.WithTimeout(t.life, t.timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("keystore: the Auditor panicked: %v", p)
		}
	}()
	return t.auditor.Audit(ctx, batch)
}

// close delivers what waits, within the timeout, and returns how many events were
// lost over the life of the trail. An Auditor that does not return though its
// context has ended is left alone.
func (t *auditTrail) close() (lost int) {
	if t == nil {
		return 0
	}
	t.closing.Do(func() {
		defer time.AfterFunc(t.timeout, t.stop).Stop()
		t.mu.Lock()
		t.closed = true
		t.mu.Unlock()
		t.waiting.Wait()
		close(t.sealed)
		t.await()
		t.stop()
		if left := len(t.refusals.take(true)) + int(t.accepted.Load()-t.settled.Load()); left > 0 {
			t.drop(left, "the Keystore is closed")
		}
		t.logLost("")
	})
	return int(t.lost())
}

// await waits for the goroutine to end.
func (t *auditTrail) await() {
	select {
	case <-t.done:
		return
	case <-t.life.Done():
	}
	timer := time.NewTimer(auditGrace)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C:
		t.logger.Error("keystore: the Auditor does not return, though its context has ended; its goroutine is left behind")
	}
}

// lost is how many events were never delivered, so far.
func (t *auditTrail) lost() uint64 {
	if t == nil {
		return 0
	}
	return t.dropped.Load()
}

func (t *auditTrail) drop(events int, why string) {
	t.dropped.Add(uint64(events))
	if t.dropping.now() {
		t.logLost(": " + why)
	}
}

// logLost says how many events are lost, if the log does not say it yet.
func (t *auditTrail) logLost(why string) {
	if lost := t.dropped.Load(); t.logged.Swap(lost) != lost {
		t.logger.Error("keystore: events for the audit were lost"+why, "lost", lost)
	}
}

// rarely is for what must not fill a log. The zero value is ready.
type rarely struct{ next atomic.Int64 }

// now reports true at most once in auditLogEvery.
func (r *rarely) now() bool {
	now, next := time.Now().UnixNano(), r.next.Load()
	return now >= next && r.next.CompareAndSwap(next, now+int64(auditLogEvery))
}
