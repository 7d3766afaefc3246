package testserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Program is a server program that listens on one address and stays in the
// foreground.
type Program struct {
	Path string
	Args []string
	Env  []string // NAME=value, beside the environment of this process
	Dir  string   // where it runs; "": a temporary folder of the test
	Addr string   // where it listens, of [FreeAddr]
}

// Server is a [Program] of one test. Its methods are for the goroutine of the test,
// except for Addr, URL, Dir, PID and Log.
type Server struct {
	tb      testing.TB
	program Program
	log     *os.File
	process *process // nil: not running
}

// FreeAddr returns a host:port of this machine on which nobody listens, and that no
// other test gets.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	return address(port)
}

// StartProgram starts a server and returns when it accepts connections.
func StartProgram(tb testing.TB, p Program) *Server {
	tb.Helper()
	s := newServer(tb, p)
	s.Start()
	return s
}

// newServer prepares a server that Start starts, and its end with the test.
func newServer(tb testing.TB, p Program) *Server {
	tb.Helper()
	if p.Dir == "" {
		p.Dir = tb.TempDir()
	}
	s := &Server{tb: tb, program: p, log: openLog(tb, tb.TempDir())}
	tb.Cleanup(func() {
		if s.process != nil {
			s.process.kill()
		}
		showLog(tb, s.name(), s.log)
		_ = s.log.Close()
	})
	return s
}

func (s *Server) name() string { return filepath.Base(s.program.Path) + " " + s.Addr() }

// Addr is where the server listens. It stays the same from start to start.
func (s *Server) Addr() string { return s.program.Addr }

// URL is that of the server's root, without a slash at its end, for HTTP without TLS.
func (s *Server) URL() string { return "http://" + s.Addr() }

// Dir is the folder in which the server runs.
func (s *Server) Dir() string { return s.program.Dir }

// PID is the process id of the server that runs.
func (s *Server) PID() int { return s.process.pid() }

// Log is what the server has written to its standard output and error, in all of
// its runs.
func (s *Server) Log() string {
	text, err := io.ReadAll(io.NewSectionReader(s.log, 0, 1<<30))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Start starts the server and returns when it accepts connections.
func (s *Server) Start() {
	s.tb.Helper()
	if s.process != nil {
		s.tb.Fatal("the server runs already")
	}
	if dial(s.Addr()) == nil {
		s.tb.Fatalf("starting %s: %v", s.name(), errTaken)
	}
	cmd := exec.Command(s.program.Path, s.program.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.program.Dir, s.log, s.log
	cmd.Env = append(os.Environ(), s.program.Env...)
	p, err := startCommand(cmd)
	if err != nil {
		s.tb.Fatalf("starting %s: %v", s.name(), err)
	}
	if err := accepts(s.Addr(), p); err != nil {
		p.kill()
		s.tb.Fatalf("starting %s: %v\n%s", s.name(), err, tail(s.log))
	}
	s.process = p
}

// accepts waits until somebody listens while the process runs.
func accepts(addr string, p *process) error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if p.exited() {
			return errors.New("it ended at once")
		}
		if err = dial(addr); err == nil {
			return nil
		}
	}
	return fmt.Errorf("it does not listen: %w", err)
}

// Stop ends the server with SIGTERM and waits until it is gone.
func (s *Server) Stop() {
	s.tb.Helper()
	s.running().stop()
	s.process = nil
}

// Kill ends the server with SIGKILL, and its children, and waits until they are gone.
func (s *Server) Kill() {
	s.tb.Helper()
	s.running().kill()
	s.process = nil
}

func (s *Server) running() *process {
	s.tb.Helper()
	if s.process == nil {
		s.tb.Fatal("the server does not run")
	}
	return s.process
}

// writeFiles writes the files of a configuration, each at once: a server that is about
// to read one must not find half of it.
func writeFiles(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.WriteFile(path+".new", []byte(text), 0o600)
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}
