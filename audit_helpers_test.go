package keystore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errAuditor = errors.New("the auditor fails")

// spyAuditor keeps what it takes. hook, if there is one, runs before the nth call
// takes its events, and stands for it with its error.
type spyAuditor struct {
	hook func(ctx context.Context, n int, events []Event) error

	mu    sync.Mutex
	calls []time.Time
	sizes []int // of the batches that it took
	taken []Event
}

func (a *spyAuditor) Audit(ctx context.Context, events []Event) error {
	a.mu.Lock()
	a.calls = append(a.calls, time.Now())
	n := len(a.calls)
	a.mu.Unlock()
	if a.hook != nil {
		if err := a.hook(ctx, n, events); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken = append(a.taken, events...)
	a.sizes = append(a.sizes, len(events))
	return nil
}

func (a *spyAuditor) events() []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.taken)
}

// called is when it was called.
func (a *spyAuditor) called() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// revisions is how the tests number their events.
func (a *spyAuditor) revisions() (numbers []int) {
	for _, e := range a.events() {
		numbers = append(numbers, int(e.Revision))
	}
	return numbers
}

// failTimes makes the first n calls fail.
func failTimes(n int) func(context.Context, int, []Event) error {
	return func(_ context.Context, call int, _ []Event) error {
		if call <= n {
			return errAuditor
		}
		return nil
	}
}

func numbered(n int) Event {
	return Event{Action: ActionUpdate, Outcome: OutcomeDone, Revision: uint64(n)}
}

func upTo(n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

// trailTo is a trail whose calls have two seconds, and its log.
func trailTo(t testing.TB, a Auditor) (*auditTrail, *logBuffer) {
	t.Helper()
	log := new(logBuffer)
	trail := newAuditTrail(a, 2*time.Second, slog.New(slog.NewTextHandler(log, nil)), time.Now)
	t.Cleanup(func() { trail.close() })
	return trail, log
}

// logBuffer is what a logger writes to.
type logBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

// requireConserved demands that each event was delivered or counted.
func requireConserved(t testing.TB, trail *auditTrail, a *spyAuditor, recorded int) {
	t.Helper()
	require.Equal(t, recorded, len(a.events())+int(trail.lost()), "delivered and lost")
}
