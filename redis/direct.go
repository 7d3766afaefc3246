package redis

import (
	"context"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// To wait for a reply on another goroutine, as await does, takes as long as the reply
// of a server nearby: processors have to be woken up. So what may be repeated is
// first sent from the goroutine of the caller, with a deadline so close that it is
// soon enough to notice only then that the context was cancelled. If that passes
// without a reply, the next attempt is made by await, and for a while all are, so
// that no server that is slow is asked everything twice.
const (
	directWait = 500 * time.Millisecond
	slowFor    = 10 * time.Second
	slowWait   = 5 * time.Second // for a pipeline to a slow server whose callers have no deadline
)

// direct says whether to send from the goroutine of the caller.
type direct struct {
	able  bool // whether the client obeys deadlines of contexts
	start time.Time
	slow  atomic.Int64 // the server is taken for slow until so long after start
}

func newDirect(client goredis.UniversalClient) *direct {
	d := &direct{start: time.Now()}
	switch c := client.(type) {
	case *goredis.Client:
		o := c.Options()
		d.able = o.ContextTimeoutEnabled && o.ReadTimeout >= 0 && o.WriteTimeout >= 0 // negative: never any deadline
	case *goredis.ClusterClient:
		o := c.Options()
		d.able = o.ContextTimeoutEnabled && o.ReadTimeout >= 0 && o.WriteTimeout >= 0
	}
	return d
}

// begin returns the context for an attempt, or nil if there is to be none.
func (d *direct) begin(ctx context.Context) context.Context {
	now := time.Now()
	if !d.able || d.isSlow(now) {
		return nil
	}
	return soon{ctx, now.Add(directWait)}
}

func (d *direct) isSlow(now time.Time) bool { return int64(now.Sub(d.start)) < d.slow.Load() }

// failed notes an attempt that got no answer.
func (d *direct) failed(attempt context.Context) {
	if deadline, _ := attempt.Deadline(); time.Until(deadline) <= 0 {
		d.slow.Store(int64(time.Since(d.start) + slowFor))
	}
}

// soon is a context with a deadline that go-redis gives the connection, and no timer.
type soon struct {
	context.Context
	deadline time.Time
}

func (s soon) Deadline() (time.Time, bool) {
	if d, ok := s.Context.Deadline(); ok && d.Before(s.deadline) {
		return d, true
	}
	return s.deadline, true
}
