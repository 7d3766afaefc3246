package drivertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// jobVariable holds the job of a process that Processes started, as JSON.
const jobVariable = "KEYSTORE_TEST_DRIVER_JOB"

// job is what a process is to do: to add 1 to each of the records, so many times.
type job struct {
	URL   string
	IDs   []string
	Times int
}

// Processes starts processes that count in the same few records of the store of
// a URL, by compare-and-swap, and watches them from this one. Each begins when it
// has heard of a change in this process. All counting adds up in the end, and every
// record was heard of.
func Processes(t *testing.T, rawURL string, processes, times int) {
	t.Helper()
	b, err := backend.Open(testContext(t), rawURL, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	j := job{URL: rawURL, IDs: []string{"a", "b", "c"}, Times: times}
	for _, id := range j.IDs {
		require.NoError(t, b.Create(testContext(t), backend.Record{ID: id, Owner: "owner", Data: []byte("0")}))
	}
	var children []*child
	for range processes {
		children = append(children, startChild(t, j))
	}
	for _, c := range children {
		c.expect(t, "watching")
	}
	changes, err := b.(backend.Watcher).Watch(testContext(t))
	require.NoError(t, err)
	require.NoError(t, b.Create(testContext(t), backend.Record{ID: "go", Owner: "owner", Data: []byte("")}))
	for _, c := range children {
		c.expect(t, "heard")
	}
	heard := make(map[string]bool)
	for len(heard) < len(j.IDs)+1 {
		select {
		case id := <-changes:
			if id != "" {
				heard[id] = true
			}
		case <-time.After(patience):
			require.Failf(t, "changes of other processes were not heard of", "only %v", heard)
		}
	}
	conflicts := 0
	for _, c := range children {
		n, err := strconv.Atoi(strings.TrimPrefix(c.expect(t, "done"), "done "))
		require.NoError(t, err)
		conflicts += n
	}
	for _, id := range j.IDs {
		r, err := b.Get(testContext(t), id)
		require.NoError(t, err)
		assert.Equal(t, strconv.Itoa(processes*times), value(r), id)
		assert.EqualValues(t, processes*times+1, r.Revision, id)
	}
	t.Logf("%d processes made %d changes, and met %d conflicts", processes, processes*times*len(j.IDs), conflicts)
}

// value is the number in a record. Behind it stands who wrote it, which makes the
// bytes of two writers different.
func value(r backend.Record) string {
	number, _, _ := strings.Cut(string(r.Data), " ")
	return number
}

// runJob does the job in a process of its own.
func runJob() error {
	var j job
	if err := json.Unmarshal([]byte(os.Getenv(jobVariable)), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	b, err := backend.Open(ctx, j.URL, nil)
	if err != nil {
		return err
	}
	changes, err := b.(backend.Watcher).Watch(ctx)
	if err != nil {
		return err
	}
	fmt.Println("watching")
	for id := range changes {
		if id == "go" {
			fmt.Println("heard")
			break
		}
	}
	conflicts := 0
	for range j.Times {
		for _, id := range j.IDs {
			n, err := increment(ctx, b, id)
			if err != nil {
				return err
			}
			conflicts += n
		}
	}
	fmt.Println("done", conflicts)
	return b.Close()
}

// increment adds 1 to a record, and returns how many others came first.
func increment(ctx context.Context, b backend.Backend, id string) (conflicts int, err error) {
	for {
		r, err := b.Get(ctx, id)
		if err != nil {
			return conflicts, err
		}
		n, err := strconv.Atoi(value(r))
		if err != nil {
			return conflicts, err
		}
		r.Data = fmt.Appendf(nil, "%d %d", n+1, os.Getpid())
		err = b.Update(ctx, r)
		if !errors.Is(err, backend.ErrConflict) {
			return conflicts, err
		}
		conflicts++
	}
}

// child is a process of this test binary.
type child struct {
	cmd    *exec.Cmd
	output *bufio.Scanner
}

// startChild starts a child, and kills it when the test ends.
func startChild(t *testing.T, j job) *child {
	t.Helper()
	text, err := json.Marshal(j)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, output)
		_ = cmd.Wait()
	})
	return &child{cmd, bufio.NewScanner(output)}
}

// expect returns the child's next line, which begins with a word.
func (c *child) expect(t *testing.T, word string) string {
	t.Helper()
	require.True(t, c.output.Scan(), "the other process has ended")
	require.True(t, strings.HasPrefix(c.output.Text(), word), c.output.Text())
	return c.output.Text()
}
