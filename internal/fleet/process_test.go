package fleet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// jobVariable holds the job of a process that start started, as JSON.
const jobVariable = "KEYSTORE_TEST_FLEET_JOB"

// patience is how long anything may take that must happen.
const patience = time.Minute

// process is another process of this test binary. It is for one goroutine at a time.
type process struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
	stderr *bytes.Buffer
}

// start starts a process, makes sure that it has the clock of this one, and ends it
// when the test ends. It ends by itself if this process dies: its input ends then.
func start(t *testing.T, j job) *process {
	t.Helper()
	text, err := json.Marshal(j)
	require.NoError(t, err)
	p := &process{cmd: exec.Command(os.Args[0]), stderr: new(bytes.Buffer)}
	p.cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	p.cmd.Stderr = p.stderr
	output, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.output = bufio.NewReader(output)
	p.input, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { p.end(t) })

	_, err = p.call(request{Do: "hello"}) // it has opened the store
	require.NoError(t, err, j.Role)
	before := now()
	r, err := p.call(request{Do: "hello"})
	require.NoError(t, err, j.Role)
	require.LessOrEqual(t, before, r.Now, "the clock is not shared")
	require.LessOrEqual(t, r.Now, now(), "the clock is not shared")
	return p
}

// end closes the process's input, upon which it closes its keystore and ends.
func (p *process) end(t *testing.T) {
	_ = p.input.Close()
	defer time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() }).Stop()
	_, _ = io.Copy(io.Discard, p.output)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a process of the fleet: %v\n%s", err, p.stderr)
	}
}

// call has the process do what is asked.
func (p *process) call(q request) (reply, error) {
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
		return reply{}, fmt.Errorf("%s: %s", q.Do, r.Error)
	}
	return r, nil
}

// server is what a process does with requests.
type server interface {
	do(q request) (reply, error)
	close() error
}

// serveRequests answers what the parent writes, one after the other, until it is
// gone or says that this is all.
func serveRequests(s server, err error) error {
	if err != nil {
		return err
	}
	requests := json.NewDecoder(os.Stdin)
	for {
		var q request
		if err := requests.Decode(&q); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, s.close())
		}
		r, err := s.do(q)
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
