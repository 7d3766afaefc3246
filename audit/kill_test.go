package audit

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childPath is the variable that makes the process the child of TestKill.
const childPath = "KEYSTORE_AUDIT_TEST_CHILD"

// childBatch is large enough that a kill comes amid a write now and then.
const childBatch = 400

// writeForEver writes one batch after the other, and a line for each that was
// acknowledged.
func writeForEver(path string) {
	f, err := OpenFile(path, &FileOptions{NoSync: true})
	for n := 0; err == nil; n += childBatch {
		if err = f.Audit(context.Background(), events(n, n+childBatch, 1000)); err == nil {
			fmt.Println(n + childBatch)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// What was acknowledged before a SIGKILL is in the file, in order and once; what
// came behind it is there or not, and at most one line is cut.
func TestKill(t *testing.T) {
	rounds := 4
	if os.Getenv("KEYSTORE_TEST_LONG") == "1" {
		rounds = 100
	}
	torn := 0
	for round := range rounds {
		path := somewhere(t)
		acknowledged := killAmidWrites(t, path, 5+7*round%40)
		f := openFile(t, path, nil)
		require.NoError(t, f.Audit(t.Context(), events(0, 1, 0)))
		found, bad := readTorn(t, path)
		require.LessOrEqual(t, len(bad), 1)
		torn += len(bad)
		last := len(found) - 1
		require.Equal(t, event(0, 0), found[last], "what comes next has a line of its own")
		require.GreaterOrEqual(t, last, acknowledged)
		require.LessOrEqual(t, last, acknowledged+2*childBatch, "a batch whose acknowledgement was under way, and one more")
		for n, e := range found[:last] {
			require.Equal(t, uint64(n), e.Revision)
		}
		require.NoError(t, os.Remove(path))
	}
	t.Logf("%d of %d kills cut a line", torn, rounds)
}

// killAmidWrites returns how many events were acknowledged before the kill.
func killAmidWrites(t *testing.T, path string, after int) (acknowledged int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childPath+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	said := bufio.NewScanner(out)
	for n := 1; said.Scan(); n++ {
		acknowledged, err = strconv.Atoi(said.Text())
		require.NoError(t, err)
		if n == after {
			awaitGrowth(t, path)
			require.NoError(t, child.Process.Kill())
		}
	}
	require.Error(t, child.Wait(), "killed")
	require.GreaterOrEqual(t, acknowledged, after*childBatch)
	return acknowledged
}

// awaitGrowth returns when the file has become longer, so amid a write or soon
// after it.
func awaitGrowth(t *testing.T, path string) {
	t.Helper()
	begun, err := os.Stat(path)
	require.NoError(t, err)
	for deadline := time.Now().Add(time.Minute); ; {
		now, err := os.Stat(path)
		require.NoError(t, err)
		if now.Size() > begun.Size() {
			return
		}
		require.True(t, time.Now().Before(deadline), "the child writes no more")
	}
}
