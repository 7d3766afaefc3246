package testserver

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy passes TCP connections on to a server, and breaks them as a test says. It
// is safe for concurrent use.
//
// A request is what one read from a client's connection brings: all of what the
// client wrote at once, up to 64 KiB. A reply is what comes from the server after
// it; so a fault that is about a reply is meant for connections on which one
// request waits for its reply at a time.
type Proxy struct {
	tb       testing.TB
	listener net.Listener
	wait     sync.WaitGroup

	mu       sync.Mutex
	target   string
	lines    map[*line]struct{}
	plan     func(request []byte) Fault
	once     []once
	delay    time.Duration
	refuse   bool
	hole     bool
	accepted int
	faults   map[Fault]int
}

// Fault is what becomes of a request and its reply.
type Fault int

const (
	// Pass is no fault.
	Pass Fault = iota
	// CutBefore closes the connection, and the server sees nothing.
	CutBefore
	// CutRequest closes the connection when the server has half of the request.
	CutRequest
	// DropReply closes the connection when the server has replied, and the client
	// sees nothing of it.
	DropReply
	// CutReply closes the connection when the client has half of the reply.
	CutReply
	// HangReply swallows the reply and all that comes after; the connection stays
	// open and silent.
	HangReply
)

// once is a fault for the next request that matches.
type once struct {
	match func(request []byte) bool
	fault Fault
}

// StartProxy starts a proxy to the server at the address target.
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{tb: tb, listener: l, target: target, lines: make(map[*line]struct{}), faults: make(map[Fault]int)}
	p.wait.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.Refuse(true)
		p.wait.Wait()
	})
	return p
}

// Addr is the host:port that clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget sets the server of connections to come.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Next gives the fault to the next request that matches, and to no other. Several
// that wait are tried in the order in which they were set.
func (p *Proxy) Next(fault Fault, match func(request []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.once = append(p.once, once{match, fault})
}

// DropReply is Next with the fault of that name.
func (p *Proxy) DropReply(match func(request []byte) bool) { p.Next(DropReply, match) }

// HangReply is Next with the fault of that name.
func (p *Proxy) HangReply(match func(request []byte) bool) { p.Next(HangReply, match) }

// CutBefore is Next with the fault of that name.
func (p *Proxy) CutBefore(match func(request []byte) bool) { p.Next(CutBefore, match) }

// SetPlan has plan say what becomes of each request from now on that [Proxy.Next]
// leaves alone; nil: they pass. It is called by one goroutine at a time.
func (p *Proxy) SetPlan(plan func(request []byte) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
}

// Delay holds back by d each piece that comes from the server, from now on.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// CutAll closes all connections. New ones are accepted.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

func (p *Proxy) cutAll() {
	for l := range p.lines {
		l.cut()
	}
}

// Refuse closes all connections, and new ones at once, until it is told to stop.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
	if on {
		p.cutAll()
	}
}

// BlackHole swallows what comes from either side, on new connections too, which
// stay open and silent. Its end closes them, since bytes are lost.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hole && !on {
		p.cutAll()
	}
	p.hole = on
}

// HalfOpen closes the server's side of all connections. The client's side stays
// open and silent.
func (p *Proxy) HalfOpen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.lines {
		l.silence()
		_ = l.server.Close()
	}
}

// Count is how many requests have had the fault so far; one that is about a reply
// counts when the server has replied.
func (p *Proxy) Count(fault Fault) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[fault]
}

// Dropped is how many replies were swallowed by DropReply and HangReply.
func (p *Proxy) Dropped() int { return p.Count(DropReply) + p.Count(HangReply) }

// Connections is how many connections were accepted so far, refused ones included.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open is how many connections are open on the client's side.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}
