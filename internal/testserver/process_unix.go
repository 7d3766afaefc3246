//go:build unix

package testserver

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// separate gives the program a process group of its own: redis-server forks to write
// its files, and what it has forked would outlive it.
func separate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends all processes of a group.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// awaitGroup waits a moment for the processes of a killed group to be gone, so that
// none of them writes files any more. Nobody but the system can tell.
func awaitGroup(pid int) {
	for range 100 {
		if syscall.Kill(-pid, 0) != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// guard sees to it that the group of the process pid ends when this process does,
// also by SIGKILL: a shell waits for the end of a pipe that only this process holds
// open. release ends the guard, and must come before somebody waits for the process,
// since its id may then be another's.
//
// Linux could do with Pdeathsig alone, which other systems lack, and which means
// the thread that started the process, not the process that did.
func guard(pid int) (release func(), err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	shell := exec.Command("/bin/sh", "-c", `trap "" HUP INT TERM; read -r _; kill -KILL "-$0"`, strconv.Itoa(pid))
	shell.Stdin = read
	if err := shell.Start(); err != nil {
		_ = write.Close()
		return nil, err
	}
	return func() {
		_ = shell.Process.Kill()
		_ = shell.Wait()
		_ = write.Close()
	}, nil
}

// terminate asks the process to end, a paused one too.
func terminate(p *os.Process) {
	_ = p.Signal(syscall.SIGTERM)
	_ = p.Signal(syscall.SIGCONT)
}

// exited reports whether the process has ended by itself.
func (p *process) exited() bool {
	pid, err := syscall.Wait4(p.pid(), nil, syscall.WNOHANG, nil)
	return pid != 0 || err != nil
}

// pause stops the process with SIGSTOP and waits until it stands still.
func (p *process) pause(tb testing.TB) {
	tb.Helper()
	p.signal(tb, syscall.SIGSTOP)
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.pid(), &status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			tb.Fatalf("waiting for a process to stand still: %v", err)
		case !status.Stopped():
			tb.Fatal("the process that was to be paused has ended")
		default:
			return
		}
	}
}

func (p *process) resume(tb testing.TB) {
	tb.Helper()
	p.signal(tb, syscall.SIGCONT)
}

func (p *process) signal(tb testing.TB, s os.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		tb.Fatalf("sending %v: %v", s, err)
	}
}
