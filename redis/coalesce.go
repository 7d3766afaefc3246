package redis

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A GET, or the script of a spend, costs client and server some system calls and
// waking each other up, more than the command itself. So when many Gets and Spends are
// under way they are sent together, in pipelines: those that come while the pipelines
// before them wait for their replies are the next one. Nobody waits for others to come.
// Each is a command of its own, sent after its call began, and its reply is its
// caller's alone.
//
// When few are under way that would only be a detour through another goroutine, and
// they are sent as they come.
//
// On two cores that server and client share, more than one pipeline at once gains
// nothing; from a server that is a network away, who comes while all are under way
// waits up to a round trip longer than by a plain GET, so there are some.
const (
	fewCalls      = 4
	pipelineLen   = 64 // commands
	pipelineCount = 4  // under way at once, per server
)

// coalescer gathers Gets and Spends into pipelines. Goroutines that send them are
// started when there is something to send, and end when there is nothing any more.
type coalescer struct {
	client goredis.UniversalClient
	direct *direct
	work   *sync.WaitGroup // of the handle
	few    int64           // as many calls at once are not gathered
	wait   time.Duration   // for being sent, and for the replies of a server that is not slow
	calls  atomic.Int64    // under way

	mu       sync.Mutex
	queues   map[*goredis.Client]*queue // those with a sender
	spending map[string]struct{}        // counts of which a gathered spend is under way
}

// queue is what waits to be sent to one server. Servers have queues of their own, so
// that one in a cluster that is silent holds up its own keys only.
type queue struct {
	waiting []*pipeline // oldest first; the last one takes more
	senders int
}

// pipeline is a number of commands that are sent together.
type pipeline struct {
	queue *queue
	cmds  []goredis.Cmder
	until time.Time     // the latest deadline of their callers; zero: one has none
	sent  bool          // none is added or taken back any more
	done  chan struct{} // closed when each command has its reply or an error
}

func newCoalescer(client goredis.UniversalClient, d *direct, work *sync.WaitGroup) *coalescer {
	few := int64(fewCalls)
	if _, ok := client.(*goredis.ClusterClient); ok {
		few *= 3 // the masters that there are at least: to one of them it is as few
	}
	return &coalescer{client: client, direct: d, work: work, few: few, wait: directWait, queues: make(map[*goredis.Client]*queue), spending: make(map[string]struct{})}
}

// begin counts a call, and reports whether to gather it. end must follow. A client
// that obeys no deadlines could keep all senders of a server for as long as that is
// silent.
func (c *coalescer) begin() bool { return c.calls.Add(1) > c.few && c.direct.able }

func (c *coalescer) end() { c.calls.Add(-1) }

// claim reports whether a spend from the counts of that name may be gathered: if no
// other is. Else, where the replies of a pipeline are lost, many of one key would have
// to be repeated at once, and so many of others would come between that the server
// would not recognize them. release must follow.
func (c *coalescer) claim(counts string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.spending[counts]; taken {
		return false
	}
	c.spending[counts] = struct{}{}
	return true
}

func (c *coalescer) release(counts string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.spending, counts)
}

// outcome is what became of a command that was to be sent with others.
type outcome int

const (
	notSent outcome = iota // nor will it be: ctx ended, or it is better sent alone
	noReply                // it is sent, or will be, and ctx ended
	replied                // it has its reply or error
)

// send has a command sent with others. It must not be one that go-redis repeats, and
// belongs to the coalescer until it is replied or not sent.
func (c *coalescer) send(ctx context.Context, key string, cmd goredis.Cmder) outcome {
	now := time.Now()
	server := c.server(soon{ctx, now.Add(c.wait)}, key)
	if server == nil {
		return notSent
	}
	limit := c.wait
	deadline, bounded := ctx.Deadline()
	if bounded {
		limit = min(limit, deadline.Sub(now))
	}
	p := c.join(server, cmd, deadline)

	// To ask a context for its channel may start a timer, which takes longer than all
	// of the rest here. It is soon enough to notice after a while that a call was
	// cancelled, unless calls take long now.
	var cancelled <-chan struct{}
	if c.direct.isSlow(now) {
		cancelled = ctx.Done()
	}
	timer := timers.Get().(*time.Timer)
	timer.Reset(limit)
	defer func() {
		timer.Stop()
		timers.Put(timer)
	}()
	for {
		select {
		case <-p.done:
			return replied
		case <-timer.C:
			if c.withdraw(p, cmd) {
				return notSent
			}
			if ended(ctx) != nil {
				return noReply
			}
			cancelled = ctx.Done()
		case <-cancelled:
			if c.withdraw(p, cmd) {
				return notSent
			}
			return noReply
		}
	}
}

var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// server returns the client of the server that has a key; nil if none is known. A
// pipeline is sent to the server itself: a cluster client would hold up all of it
// until the last command has followed its MOVED or ASK. Here these are errors of one
// command, whose caller sends it again by the cluster client.
func (c *coalescer) server(ctx context.Context, key string) *goredis.Client {
	switch client := c.client.(type) {
	case *goredis.Client:
		return client
	case *goredis.ClusterClient:
		if server, err := client.MasterForKey(ctx, key); err == nil {
			return server
		}
	}
	return nil
}

// join adds a command to the pipeline that takes more, and sees to it that somebody
// sends it. The deadline is the caller's, zero for none.
func (c *coalescer) join(server *goredis.Client, cmd goredis.Cmder, deadline time.Time) *pipeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.queues[server]
	if q == nil {
		q = &queue{}
		c.queues[server] = q
	}
	last := len(q.waiting) - 1
	if last < 0 || len(q.waiting[last].cmds) == pipelineLen {
		q.waiting = append(q.waiting, &pipeline{queue: q, until: deadline, done: make(chan struct{})})
		last++
	}
	p := q.waiting[last]
	p.cmds = append(p.cmds, cmd)
	if deadline.IsZero() || !p.until.IsZero() && deadline.After(p.until) {
		p.until = deadline
	}
	if q.senders < pipelineCount {
		q.senders++
		c.work.Add(1) // no Close has waited for it in vain: the caller's own is not done yet
		go c.sender(server, q)
	}
	return p
}

// withdraw takes a command back, so that what waits is never more than there are
// callers. It reports false if the command has been sent.
func (c *coalescer) withdraw(p *pipeline, cmd goredis.Cmder) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.sent {
		return false
	}
	p.cmds = remove(p.cmds, cmd)
	if len(p.cmds) == 0 {
		p.queue.waiting = remove(p.queue.waiting, p)
	}
	return true
}

func remove[T comparable](from []T, v T) []T {
	i := slices.Index(from, v)
	return slices.Delete(from, i, i+1)
}

// sender sends pipelines until none waits.
func (c *coalescer) sender(server *goredis.Client, q *queue) {
	defer c.work.Done()
	for {
		runtime.Gosched() // callers that got their replies just now may have their next call
		p := c.next(server, q)
		if p == nil {
			return
		}
		c.exec(server, p)
		close(p.done)
	}
}

// next takes the pipeline that is to be sent next. If there is none, the sender is
// no sender any more.
func (c *coalescer) next(server *goredis.Client, q *queue) *pipeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(q.waiting) == 0 {
		q.senders--
		if q.senders == 0 {
			delete(c.queues, server)
		}
		return nil
	}
	p := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	p.sent = true
	return p
}

// exec sends a pipeline once, and gives each command its reply or error. It waits as
// long as one of the callers does, but like them it does not take a server for slow
// before it has waited in vain once.
func (c *coalescer) exec(server *goredis.Client, p *pipeline) {
	now := time.Now()
	until := now.Add(c.wait)
	if c.direct.isSlow(now) {
		until = now.Add(slowWait)
	}
	if !p.until.IsZero() && p.until.Before(until) {
		until = p.until
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	pipe := server.Pipeline()
	_ = pipe.BatchProcess(ctx, p.cmds...)      // only queues them
	if err := execute(ctx, pipe); err != nil { // of the first that has one
		c.direct.failed(ctx)
	}
}
