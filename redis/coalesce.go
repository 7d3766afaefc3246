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

// A GET costs client and server a system call or two each and waking somebody up,
// many times what the command itself costs. So when many Gets are under way they
// are sent together, in pipelines: those that come while a pipeline waits for its
// replies are the next one. Nobody waits for others to come. Each Get is a command
// of its own, sent after its call began, and its reply is its caller's alone.
//
// When few are under way that would only be a detour through another goroutine, and
// they are sent as they come.
const (
	fewGets       = 8
	pipelineLen   = 64 // GETs
	pipelineCount = 2  // under way at once, per server
)

// coalescer gathers Gets into pipelines. Goroutines that send them are started when
// there is something to send, and end when there is nothing any more.
type coalescer struct {
	client goredis.UniversalClient
	direct *direct
	work   *sync.WaitGroup // of the handle
	few    int64           // as many Gets at once are not gathered
	gets   atomic.Int64    // under way

	mu     sync.Mutex
	queues map[*goredis.Client]*queue // those with a sender
}

// queue is what waits to be sent to one server. Servers have queues of their own, so
// that one in a cluster that is silent holds up its own keys only.
type queue struct {
	waiting []*pipeline // oldest first; the last takes more
	senders int
}

// pipeline is a number of GETs that are sent together.
type pipeline struct {
	queue *queue
	cmds  []goredis.Cmder
	until time.Time     // the latest deadline of their callers; zero: one has none
	sent  bool          // nothing is added or taken back any more
	done  chan struct{} // closed when each command has its reply or an error
}

func newCoalescer(client goredis.UniversalClient, d *direct, work *sync.WaitGroup) *coalescer {
	return &coalescer{client: client, direct: d, work: work, few: fewGets, queues: make(map[*goredis.Client]*queue)}
}

// begin counts a Get, and reports whether it is one of many. end must follow.
func (c *coalescer) begin() bool { return c.gets.Add(1) > c.few && c.direct.able }

func (c *coalescer) end() { c.gets.Add(-1) }

// get sends a GET with others, and returns the command with its reply or error. It
// returns nil if ctx ended, or if the command was not sent for so long that its
// caller does better to send it alone.
func (c *coalescer) get(ctx context.Context, key string) *goredis.StringCmd {
	wait, slow := c.direct.wait()
	deadline, bounded := ctx.Deadline()
	server := c.server(soon{ctx, time.Now().Add(wait)}, key)
	if server == nil {
		return nil
	}
	cmd := onceGet{goredis.NewStringCmd(context.Background(), "get", key)}
	p := c.join(server, cmd, deadline)

	// As in direct: of most calls it is enough to notice later that they were
	// cancelled, and to ask a context for its channel may cost a timer. One that is
	// there already costs less.
	limit := directWait
	if bounded {
		limit = min(limit, time.Until(deadline))
	}
	timer := timers.Get().(*time.Timer)
	timer.Reset(limit)
	defer func() {
		timer.Stop()
		timers.Put(timer)
	}()
	var cancelled <-chan struct{}
	if slow {
		cancelled = ctx.Done()
	}
	for {
		select {
		case <-p.done:
			if cmd.Err() == nil && cmd.Val() == "" {
				return nil // a hook of the client's kept the pipeline from being sent
			}
			return cmd.StringCmd
		case <-timer.C:
			if c.withdraw(p, cmd) || ended(ctx) != nil {
				return nil
			}
			cancelled = ctx.Done()
		case <-cancelled:
			c.withdraw(p, cmd)
			return nil
		}
	}
}

var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// server returns the client of the server that has a key, nil if that is not known.
// A pipeline goes to the server itself: a cluster client would hold up all of it
// until the last command has followed its MOVED or ASK. These are errors here, and
// their callers send such commands again by the cluster client.
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
// sends it.
func (c *coalescer) join(server *goredis.Client, cmd goredis.Cmder, deadline time.Time) *pipeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.queues[server]
	if q == nil {
		q = new(queue)
		c.queues[server] = q
	}
	var p *pipeline
	if n := len(q.waiting); n > 0 && len(q.waiting[n-1].cmds) < pipelineLen {
		p = q.waiting[n-1]
	} else {
		p = &pipeline{queue: q, until: deadline, done: make(chan struct{})}
		q.waiting = append(q.waiting, p)
	}
	p.cmds = append(p.cmds, cmd)
	if deadline.IsZero() || !p.until.IsZero() && deadline.After(p.until) {
		p.until = deadline
	}
	if q.senders < pipelineCount {
		q.senders++
		c.work.Add(1) // the caller's own is still counted, so this is not too late for Close
		go c.send(server, q)
	}
	return p
}

// withdraw takes a command back, and reports false if it has been sent.
func (c *coalescer) withdraw(p *pipeline, cmd goredis.Cmder) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.sent {
		return false
	}
	i := slices.Index(p.cmds, cmd)
	p.cmds = slices.Delete(p.cmds, i, i+1)
	if len(p.cmds) == 0 {
		i := slices.Index(p.queue.waiting, p)
		p.queue.waiting = slices.Delete(p.queue.waiting, i, i+1)
	}
	return true
}

// send sends pipelines until none waits.
func (c *coalescer) send(server *goredis.Client, q *queue) {
	defer c.work.Done()
	for {
		runtime.Gosched() // callers that got their replies just now come again with their next Get
		p := c.next(server, q)
		if p == nil {
			return
		}
		wait, _ := c.direct.wait()
		ctx := soon{context.Background(), time.Now().Add(wait)}
		if !p.until.IsZero() && p.until.Before(ctx.deadline) {
			ctx.deadline = p.until
		}
		pipe := server.Pipeline()
		_ = pipe.BatchProcess(ctx, p.cmds...) // only queues them
		if _, err := pipe.Exec(ctx); err != nil { // of the first that failed; each command has its own
			c.direct.failed(ctx)
		}
		close(p.done)
	}
}

// next takes the pipeline that is to be sent next. If there is none the sender is
// counted as gone.
func (c *coalescer) next(server *goredis.Client, q *queue) *pipeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(q.waiting) > 0 {
		p := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		p.sent = true
		return p
	}
	if q.senders--; q.senders == 0 {
		delete(c.queues, server)
	}
	return nil
}
