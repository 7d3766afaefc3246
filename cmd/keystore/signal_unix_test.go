//go:build unix

package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startBlocked starts the tool on a store that does not answer, and returns when
// it waits for it.
func startBlocked(t *testing.T, fault string) (cmd *exec.Cmd, errOut *bufio.Reader) {
	t.Helper()
	folder := slashed(filepath.Join(t.TempDir(), "store"))
	newTool(t, "badger://"+folder+"?sync=0").generate(t)
	cmd = exec.Command("keystore", "get", "0000000000000000", "--json", "--timeout", "1h", "--store", "faulty://"+folder+"?fault="+fault)
	pipe, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	errOut = bufio.NewReader(pipe)
	line, err := errOut.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "blocked\n", line)
	return cmd, errOut
}

func TestSignalsInterrupt(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd, errOut := startBlocked(t, "block")
		require.NoError(t, cmd.Process.Signal(sig))
		rest, err := io.ReadAll(errOut)
		require.NoError(t, err)
		require.Contains(t, string(rest), `"code":"interrupted","exit":130`)
		_ = cmd.Wait()
		require.Equal(t, int(statusInterrupted), cmd.ProcessState.ExitCode())
	}
}

// What does not heed the first signal is ended by another.
func TestSecondSignalKills(t *testing.T) {
	cmd, _ := startBlocked(t, "hang")
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	again := time.NewTicker(20 * time.Millisecond) // the first one is noticed when it likes
	defer again.Stop()
	for {
		select {
		case <-ended:
			require.Equal(t, syscall.SIGINT, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
			return
		case <-again.C:
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
}

// A reader that has gone must not end the tool by SIGPIPE, with a token lost.
func TestBrokenPipeIsReported(t *testing.T) {
	folder := slashed(filepath.Join(t.TempDir(), "store"))
	cmd := exec.Command("keystore", "generate", "--owner", "alice", "--store", "badger://"+folder+"?sync=0")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	var errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errOut
	_ = cmd.Run()
	require.NoError(t, w.Close())
	require.Equal(t, int(statusFailed), cmd.ProcessState.ExitCode(), errOut.String())
	require.Contains(t, errOut.String(), "which is lost, for it could not be written")
	require.False(t, strings.Contains(errOut.String(), "ks_"))
}

// A restore whose input has fallen silent ends at the first signal.
func TestSignalInterruptsASilentRestore(t *testing.T) {
	dir := t.TempDir()
	u := newTool(t, "badger://"+slashed(filepath.Join(dir, "store"))+"?sync=0")
	u.generate(t)
	backup := u.run("backup", "-").out
	cmd := exec.Command("keystore", "restore", "-", "--store", "badger://"+slashed(filepath.Join(dir, "copy")))
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	_, err = io.WriteString(input, backup[:len(backup)/2])
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the store is opened, so signals are heeded
		_, err := os.Stat(filepath.Join(dir, "copy", "MANIFEST"))
		return err == nil
	}, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	require.Equal(t, int(statusInterrupted), cmd.ProcessState.ExitCode())
}

// Nobody would see the token.
func TestClosedOutput(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	for redirection, code := range map[string]int{">&-": 1, ">/dev/null": 0} {
		cmd := exec.Command("sh", "-c", "keystore generate --owner alice --store badger://"+slashed(folder)+" "+redirection)
		_ = cmd.Run()
		require.Equal(t, code, cmd.ProcessState.ExitCode(), redirection)
	}
}
