package testserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// MongoURL returns the URL of KEYSTORE_TEST_MONGODB_URL, or else of a FerretDB that
// all tests of this process share, and that ends with it. Tests keep apart by the
// names of their databases or collections, and remove what they make.
//
// FerretDB reads a whole collection to find one document: a store in a test should
// stay below 300 records.
func MongoURL(tb testing.TB) string {
	tb.Helper()
	if url := os.Getenv("KEYSTORE_TEST_MONGODB_URL"); url != "" {
		return url
	}
	sharedFerretDB.Lock()
	defer sharedFerretDB.Unlock()
	if sharedFerretDB.process == nil {
		log, err := os.CreateTemp("", "keystore-ferretdb-*.log")
		if err != nil {
			tb.Fatal(err)
		}
		_ = os.Remove(log.Name()) // it can be written and read as long as it is open
		sharedFerretDB.log = log
		sharedFerretDB.process, sharedFerretDB.addr, err = startFerretDB(ferretDBProgram(tb), log)
		if err != nil {
			tb.Fatalf("starting FerretDB: %v\n%s", err, tail(log))
		}
	}
	log := sharedFerretDB.log
	tb.Cleanup(func() { showLog(tb, "the shared FerretDB", log) })
	return mongoURL(sharedFerretDB.addr)
}

// sharedFerretDB keeps its data in a temporary folder of its own, which it removes
// at its end. That comes when this process ends, see startFerretDB.
var sharedFerretDB struct {
	sync.Mutex
	process *process // nil: not started
	addr    string
	log     *os.File
}

func mongoURL(addr string) string { return "mongodb://" + addr + "/" }

// FerretDB is a server for the MongoDB protocol of one test: FerretDB 1.24 with
// SQLite, which passes one writing command at a time, since it is not atomic by
// itself. It has neither TTL indexes nor transactions nor change streams, and poses
// as a standalone server, to which drivers do not repeat writes. Its methods are
// for the goroutine of the test, except for Addr and URL.
type FerretDB struct {
	tb      testing.TB
	dir     string
	log     *os.File
	addr    string
	process *process // nil: not running
}

// StartFerretDB starts a server of the test's own. Acknowledged changes survive
// [FerretDB.Kill] followed by [FerretDB.Start].
func StartFerretDB(tb testing.TB) *FerretDB {
	tb.Helper()
	program := ferretDBProgram(tb)
	dir := tb.TempDir()
	f := &FerretDB{tb: tb, dir: filepath.Join(dir, "data"), log: openLog(tb, dir)}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if f.process != nil {
			f.process.kill()
		}
		showLog(tb, "FerretDB "+f.addr, f.log)
		_ = f.log.Close()
	})
	var err error
	for range 10 { // somebody else may take the port at the same time
		var port int
		if port, err = freePort(); err != nil {
			break
		}
		if f.process, f.addr, err = startFerretDB(program, f.log, "-data", f.dir, "-listen", address(port)); err == nil {
			return f
		}
	}
	tb.Fatalf("starting FerretDB: %v\n%s", err, tail(f.log))
	return nil
}

// Addr is the server's host:port. It stays the same from start to start.
func (f *FerretDB) Addr() string { return f.addr }

// URL names the server, without a database.
func (f *FerretDB) URL() string { return mongoURL(f.addr) }

// Start starts the server after Stop or Kill, on the same port and with the same
// data, and returns when it answers.
func (f *FerretDB) Start() {
	f.tb.Helper()
	if f.process != nil {
		f.tb.Fatal("the server runs already")
	}
	var err error
	if f.process, _, err = startFerretDB(ferretDBProgram(f.tb), f.log, "-data", f.dir, "-listen", f.addr); err != nil {
		f.tb.Fatalf("starting FerretDB again: %v\n%s", err, tail(f.log))
	}
}

// Stop ends the server with SIGTERM and waits until it has ended.
func (f *FerretDB) Stop() { f.running().stop(); f.process = nil }

// Kill ends the server with SIGKILL and waits until it is gone.
func (f *FerretDB) Kill() { f.running().kill(); f.process = nil }

// Pause stops the server with SIGSTOP: connections stay open and silent.
func (f *FerretDB) Pause() { f.tb.Helper(); f.running().pause(f.tb) }

// Resume lets the server go on after Pause.
func (f *FerretDB) Resume() { f.tb.Helper(); f.running().resume(f.tb) }

func (f *FerretDB) running() *process {
	f.tb.Helper()
	if f.process == nil {
		f.tb.Fatal("the server does not run")
	}
	return f.process
}

// startFerretDB starts the program and returns when it serves addr. The program
// ends by itself when its standard input does, of which only this process holds
// the other side: it needs no guard.
func startFerretDB(program string, log *os.File, args ...string) (p *process, addr string, err error) {
	cmd := exec.Command(program, args...)
	cmd.Env = withoutGoSettings(os.Environ())
	cmd.Stderr = log
	separate(cmd)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if _, err := cmd.StdinPipe(); err != nil { // Wait closes it
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	p = &process{cmd: cmd, release: func() {}}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.kill()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("it has ended: %v", cmd.ProcessState)
		}
		return nil, "", err
	}
	return p, strings.TrimSpace(line), nil
}
