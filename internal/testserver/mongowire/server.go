// Package mongowire is a MongoDB server for tests, inside the test's process, that
// does what the test says: it speaks enough of the wire protocol for a driver to
// take it for a server, and lets a [Handler] answer the commands.
//
// [Memory] is a handler that keeps documents, atomically, so that races between
// clients can be judged; [Faults] breaks another handler at chosen commands; and
// [Record] remembers what came. They stand one before the other:
//
//	store := mongowire.Memory()
//	faults := mongowire.NewFaults(store.Handle)
//	sent := mongowire.Record(faults.Handle)
//	server := mongowire.Start(t, sent.Handle, mongowire.Primary)
//
// It shows how a client behaves when a server answers so and so. It does not show
// that a real server answers so: what is known of that is in the comments.
package mongowire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Handler answers a command. It is called on the goroutine of the connection that
// the command came by, one command at a time for each connection.
//
// The zero Reply stands for the usual answer to hello, ping, endSessions and the
// like, and is [NotImplemented] for commands that have none. Handlers see a hello
// only if it is the program's own, not those by which the driver watches the server;
// see [Role].
type Handler func(cmd Command) Reply

// Server is a running server. It is safe for concurrent use.
type Server struct {
	tb       testing.TB
	handler  Handler
	listener net.Listener
	role     atomic.Int32
	clock    atomic.Pointer[func() time.Time] // nil: the machine's
	election atomic.Uint32                    // how often the server became primary
	messages atomic.Int32                     // ids of the messages that it sends
	closed   chan struct{}
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil: closed
}

// Start starts a server on a free port of 127.0.0.1. It ends with the test.
// The role is that of a [Standalone] server unless it is given.
func Start(tb testing.TB, handler Handler, role ...Role) *Server {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{
		tb: tb, handler: handler, listener: listener,
		closed: make(chan struct{}), conns: make(map[net.Conn]struct{}),
	}
	for _, r := range role {
		s.SetRole(r)
	}
	s.running.Go(s.accept)
	tb.Cleanup(s.close)
	return s
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL names the server, without a database.
func (s *Server) URL() string { return "mongodb://" + s.Addr() + "/" }

// SetClock sets the time that the server tells in its answer to hello, which is not
// the one of [Store.SetClock].
func (s *Server) SetClock(clock func() time.Time) { s.clock.Store(&clock) }

func (s *Server) now() time.Time {
	if clock := s.clock.Load(); clock != nil {
		return (*clock)()
	}
	return time.Now()
}

// Disconnect closes the connections of all clients. They may connect again.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

func (s *Server) close() {
	close(s.closed)
	_ = s.listener.Close()
	s.Disconnect()
	s.mu.Lock()
	s.conns = nil
	s.mu.Unlock()
	s.running.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		if !s.add(conn) {
			_ = conn.Close()
			return
		}
		s.running.Go(func() {
			defer s.remove(conn)
			var bad malformed
			if err := s.serve(conn); errors.As(err, &bad) {
				s.tb.Errorf("mongowire: %v", err)
			}
		})
	}
}

func (s *Server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) remove(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// serve answers the commands of one connection until it ends.
func (s *Server) serve(conn net.Conn) error {
	requests := bufio.NewReader(conn)
	for {
		r, err := readRequest(requests)
		if err != nil {
			return err
		}
		reply := s.answer(r)
		if !reply.due(s.closed) {
			return net.ErrClosed
		}
		if reply.hangUp {
			return nil
		}
		if r.oneWay {
			continue
		}
		if err := s.write(conn, r, reply.doc); err != nil {
			return err
		}
	}
}

func (s *Server) answer(r request) Reply {
	cmd := Command{Name: r.name(), Body: r.body, Done: s.closed}
	cmd.DB, _ = cmd.Body.Lookup("$db").StringValueOK()
	if isHello(cmd.Name) && cmd.Session() == "" {
		return s.hello()
	}
	if r.legacy {
		return s.notImplemented(NotImplemented("the command %s in an OP_QUERY", cmd.Name))
	}
	if refusal, refused := s.refuse(cmd); refused {
		return refusal
	}
	reply := s.handler(cmd)
	if reply.isZero() {
		reply = s.usual(cmd)
	}
	return s.notImplemented(reply)
}

// notImplemented fails the test if the reply says so.
func (s *Server) notImplemented(reply Reply) Reply {
	if reply.missing != "" {
		s.tb.Errorf("mongowire does not implement %s", reply.missing)
	}
	return reply
}

// usual answers what has nothing to do with data.
func (s *Server) usual(cmd Command) Reply {
	switch cmd.Name {
	case "hello", "isMaster", "ismaster":
		return s.hello()
	case "ping", "endSessions", "killCursors":
		return OK()
	case "buildInfo":
		return OK(bson.E{Key: "version", Value: "8.0.0"}, bson.E{Key: "versionArray", Value: bson.A{8, 0, 0, 0}})
	}
	return NotImplemented("the command %s", cmd.Name)
}

func (s *Server) write(w io.Writer, r request, doc bson.Raw) error {
	_, err := w.Write(appendReply(nil, s.messages.Add(1), r, doc))
	return err
}
