//go:build !unix

package testserver

import (
	"os"
	"os/exec"
	"testing"
)

func separate(*exec.Cmd) {}
func killGroup(int)      {}
func awaitGroup(int)     {}

// guard does nothing here: a server outlives a test process that is killed.
func guard(int) (release func(), err error) { return func() {}, nil }

func terminate(p *os.Process) { _ = p.Kill() }

func (p *process) exited() bool { return false }

func (p *process) pause(tb testing.TB) {
	tb.Helper()
	tb.Skip("this system has no SIGSTOP: a server cannot be paused")
}

func (p *process) resume(testing.TB) {}
