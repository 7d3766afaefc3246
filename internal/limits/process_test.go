package limits

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/socket"
	_ "example.com/keystore/mongo"
	_ "example.com/keystore/redis"
)

// jobVariable says what a process of this binary is for: "work" and the URL of the
// store, or "serve" and the path of a Badger folder.
const jobVariable = "KEYSTORE_TEST_LIMITS_JOB"

func runJob(job string) error {
	what, where, _ := strings.Cut(job, " ")
	switch what {
	case "work":
		w := &worker{open: func(ctx context.Context) (backend.Backend, error) { return backend.Open(ctx, where, nil) }}
		return serveRequests(w)
	case "serve":
		return serveFolder(where)
	}
	return fmt.Errorf("no process does %q", what)
}

// serveRequests answers what the parent writes, one after the other, until it is gone
// or says that this is all.
func serveRequests(w *worker) error {
	requests := json.NewDecoder(os.Stdin)
	for {
		var q request
		if err := requests.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, w.close())
		}
		r, err := w.do(q)
		if err != nil {
			r = reply{Error: err.Error()}
		}
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
			return err // it is gone
		}
	}
}

// serveFolder serves a Badger folder at the socket in it, until the parent is gone.
func serveFolder(folder string) error {
	b, err := badger.Open(filepath.Join(folder, "store"), nil)
	if err != nil {
		return err
	}
	l, err := socket.Listen(socketIn(folder))
	if err != nil {
		return errors.Join(err, b.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	return errors.Join(socket.Serve(ctx, l, socket.Handler(b, nil), nil), b.Close())
}

func socketIn(folder string) string { return filepath.Join(folder, "s") }

// process is another process of this test binary. It is for one goroutine at a time.
type process struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
	stderr *bytes.Buffer
	kill   func() // by SIGKILL
}

// startProcess starts a process, which the caller ends. It ends by itself if this
// process dies: its input ends then.
func startProcess(t *testing.T, job string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), stderr: new(bytes.Buffer)}
	p.cmd.Env = append(os.Environ(), jobVariable+"="+job)
	p.cmd.Stderr = p.stderr
	output, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.output = bufio.NewReader(output)
	p.input, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	p.kill = sync.OnceFunc(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

// startWorker starts a process with a worker, and ends it when the test ends.
func startWorker(t *testing.T, url string) *process {
	t.Helper()
	p := startProcess(t, "work "+url)
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil { // it was not killed
			p.end(t)
		}
	})
	return p
}

// end closes the process's input, upon which it closes what it has open and ends.
func (p *process) end(t *testing.T) {
	_ = p.input.Close()
	defer time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() }).Stop()
	_, _ = io.Copy(io.Discard, p.output)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a process: %v\n%s", err, p.stderr)
	}
}

// startServer starts a process that serves a Badger folder, which the caller ends.
func startServer(t *testing.T, folder string) *process {
	t.Helper()
	p := startProcess(t, "serve "+folder)
	line, err := p.output.ReadString('\n')
	require.NoError(t, err, "the server does not begin: %s", p.stderr)
	require.Equal(t, "ready\n", line)
	return p
}

// do has the process do what is asked.
func (p *process) do(q request) (reply, error) {
	defer time.AfterFunc(2*patience, func() { _ = p.cmd.Process.Kill() }).Stop()
	if err := json.NewEncoder(p.input).Encode(q); err != nil {
		return reply{}, fmt.Errorf("%s: %w\n%s", q.Do, err, p.stderr)
	}
	line, err := p.output.ReadBytes('\n')
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w\n%s", q.Do, err, p.stderr)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, fmt.Errorf("%s: %w: %s", q.Do, err, line)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s", q.Do, r.Error)
	}
	return r, nil
}
