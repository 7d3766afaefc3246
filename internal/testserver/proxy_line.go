package testserver

import (
	"net"
	"sync"
	"time"
)

// line is one connection through a proxy.
type line struct {
	proxy          *Proxy
	client, server net.Conn

	mu     sync.Mutex
	reply  Fault // what becomes of the next reply
	silent bool  // nothing passes any more
}

// accept serves connections until the listener is closed.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wait.Go(func() { p.serve(client) })
	}
}

// serve connects a client to the server, and returns when both sides are closed.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	p.accepted++
	target, refuse := p.target, p.refuse
	p.mu.Unlock()
	if refuse {
		return
	}
	server, err := net.DialTimeout("tcp", target, patience)
	if err != nil {
		return
	}
	defer server.Close()
	l := &line{proxy: p, client: client, server: server}
	if !p.add(l) {
		return
	}
	defer p.remove(l)
	var down sync.WaitGroup
	down.Go(l.down)
	l.up()
	down.Wait()
}

// add makes the line known, unless connections are refused by now.
func (p *Proxy) add(l *line) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse {
		return false
	}
	p.lines[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lines, l)
}

// judge says what becomes of a request.
func (p *Proxy) judge(request []byte) (f Fault, hole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hole {
		return Pass, true
	}
	for i, o := range p.once {
		if o.match(request) {
			p.once = append(p.once[:i:i], p.once[i+1:]...)
			return o.fault, false
		}
	}
	if p.plan != nil {
		f = p.plan(request)
	}
	return f, false
}

func (p *Proxy) count(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[f]++
}

func (p *Proxy) mood() (delay time.Duration, hole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay, p.hole
}

// up passes requests on. It reads to the end what goes nowhere.
func (l *line) up() {
	defer l.cut()
	buf := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buf)
		if err != nil {
			return
		}
		request := buf[:n]
		if l.isSilent() {
			continue
		}
		fault, hole := l.proxy.judge(request)
		if hole {
			continue
		}
		switch fault {
		case CutBefore:
			l.proxy.count(fault)
			return
		case CutRequest:
			l.silence() // whatever the server makes of it
			_, _ = l.server.Write(request[:n/2])
			l.proxy.count(fault)
			return
		}
		if fault != Pass {
			l.expect(fault) // of a request in several pieces, the reply comes after the last
		}
		if _, err := l.server.Write(request); err != nil && !l.isSilent() {
			return
		}
	}
}

// down passes replies on.
func (l *line) down() {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buf)
		if err != nil {
			if !l.isSilent() {
				l.cut()
			}
			return
		}
		delay, hole := l.proxy.mood()
		time.Sleep(delay)
		if hole || l.isSilent() {
			continue
		}
		if !l.pass(buf[:n]) {
			return
		}
	}
}

// pass passes a reply on, or does with it what the fault says. It reports whether
// the line goes on.
func (l *line) pass(reply []byte) bool {
	fault := l.expect(Pass)
	l.proxy.count(fault) // before the client can notice
	switch fault {
	case HangReply:
		l.silence()
		return true
	case DropReply:
		reply = nil
	case CutReply:
		reply = reply[:len(reply)/2]
	}
	_, err := l.client.Write(reply)
	if err != nil || fault != Pass {
		l.cut()
		return false
	}
	return true
}

// expect sets what becomes of the next reply, and returns what was set before.
func (l *line) expect(f Fault) Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.reply
	l.reply = f
	return before
}

func (l *line) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

func (l *line) isSilent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent
}

// cut closes both sides.
func (l *line) cut() {
	_ = l.client.Close()
	_ = l.server.Close()
}
