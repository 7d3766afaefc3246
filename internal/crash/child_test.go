package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	roleVariable     = "KEYSTORE_TEST_CRASH_ROLE"
	argumentVariable = "KEYSTORE_TEST_CRASH_ARGUMENT"
)

// roles are what a child process can be. Each gets one argument, mostly a
// folder, and what its parent writes to its standard input.
var roles = map[string]func(argument string) error{
	"work":    work,
	"open":    openOnly,
	"backup":  backUp,
	"restore": restoreFromInput,
	"judge":   judge,
	"fill":    fillDiskUp,
}

const (
	childLife = 5 * time.Minute  // of a child that its parent failed to kill
	silence   = 30 * time.Second // after which a child is taken for hung, and killed
)

// maxLine is the longest line between parent and child.
const maxLine = 64 << 20

// child is a process of this test binary. Every line that it prints is JSON.
type child struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Scanner
	stderr *bytes.Buffer
	end    sync.Once
	err    error // of Wait
}

// startChild starts a child and kills it when the test ends, if not before.
func startChild(t *testing.T, role, argument string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0]), stderr: new(bytes.Buffer)}
	c.cmd.Env = append(os.Environ(), roleVariable+"="+role, argumentVariable+"="+argument)
	c.cmd.Stderr = c.stderr
	output, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.input, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() { _ = c.kill() })
	c.output = bufio.NewScanner(output)
	c.output.Buffer(nil, maxLine)
	return c
}

// tell writes a line to the child.
func (c *child) tell(v any) error { return json.NewEncoder(c.input).Encode(v) }

// next reads the child's next line. It returns false at its end, and also for a
// line that the child's end has cut short.
func (c *child) next(v any) bool {
	defer time.AfterFunc(silence, c.signal).Stop()
	return c.output.Scan() && json.Unmarshal(c.output.Bytes(), v) == nil
}

// signal sends SIGKILL and leaves what the child printed to be read.
func (c *child) signal() { _ = c.cmd.Process.Kill() }

// kill ends the child with SIGKILL, and waits until it is gone.
func (c *child) kill() error {
	c.signal()
	return c.wait()
}

// wait waits until the child is gone. What it printed must have been read.
func (c *child) wait() error {
	c.end.Do(func() { c.err = c.cmd.Wait() })
	return c.err
}

// say prints a line for the parent. A line is written at once, so that the
// parent never takes a part for the whole.
func say(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	saying.Lock()
	defer saying.Unlock()
	_, err = os.Stdout.Write(append(line, '\n'))
	return err
}

var saying sync.Mutex

// hear reads the parent's next line.
func hear(v any) error { return parent.Decode(v) }

var parent = json.NewDecoder(os.Stdin)
