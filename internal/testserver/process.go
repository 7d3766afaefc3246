package testserver

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// process is a server process. It is not safe for concurrent use.
type process struct {
	cmd     *exec.Cmd
	release func() // ends the guard, see guard
}

// startProcess starts a program that writes to log. The program ends with this
// process, however that ends.
func startProcess(log *os.File, dir, program string, args ...string) (*process, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	return startCommand(cmd)
}

// startCommand is startProcess for a command that is made already.
func startCommand(cmd *exec.Cmd) (*process, error) {
	separate(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	release, err := guard(cmd.Process.Pid)
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return &process{cmd: cmd, release: release}, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the process to end and waits until it has, if need be by force.
func (p *process) stop() {
	p.release()
	terminate(p.cmd.Process)
	force := time.AfterFunc(patience/2, func() { _ = p.cmd.Process.Kill() })
	defer force.Stop()
	_ = p.cmd.Wait()
}

// kill ends the process at once, with the processes that it has forked, and waits
// until it is gone.
func (p *process) kill() {
	p.release()
	killGroup(p.pid())
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	awaitGroup(p.pid())
}

// shownLog is how much of a log a failed test shows, in bytes.
const shownLog = 4 << 10

// showLog prints the end of a server's log if the test has failed.
func showLog(tb testing.TB, name string, log *os.File) {
	tb.Helper()
	if tb.Failed() {
		tb.Logf("log of %s:\n%s", name, tail(log))
	}
}

// tail returns the end of a log, from the beginning of a line.
func tail(log *os.File) string {
	info, err := log.Stat()
	if err != nil {
		return err.Error()
	}
	start := max(0, info.Size()-shownLog)
	text, err := io.ReadAll(io.NewSectionReader(log, start, shownLog))
	if err != nil {
		return err.Error()
	}
	if start > 0 {
		_, after, _ := strings.Cut(string(text), "\n")
		return after
	}
	return string(text)
}
