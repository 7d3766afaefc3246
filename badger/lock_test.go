package badger_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/badger"
)

func TestSecondProcessIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	holder := startChild(t, "hold", dir)
	require.True(t, holder.output.Scan(), "the child opens the folder")

	start := time.Now()
	_, err := badger.Open(dir, nil)
	assert.Less(t, time.Since(start), time.Second)
	var locked *badger.LockedError
	require.ErrorAs(t, err, &locked)
	assert.Equal(t, holder.cmd.Process.Pid, locked.PID)
	assert.ErrorContains(t, err, strconv.Itoa(holder.cmd.Process.Pid))

	holder.kill()
	open(t, dir, nil)
}

func TestSecondOpenInOneProcessIsLockedOut(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, nil)
	_, err := badger.Open(dir, nil)
	var locked *badger.LockedError
	require.ErrorAs(t, err, &locked)
	assert.Equal(t, os.Getpid(), locked.PID)
	assert.ErrorContains(t, err, "this process")

	require.NoError(t, b.Close())
	open(t, dir, nil)
}

// What was acknowledged is there after kill -9. That more is there is fine: the
// child may have been killed before it could say so.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := make(map[string]uint64)
	for range 3 {
		writer := startChild(t, "write", dir)
		for n := 0; writer.output.Scan(); n++ {
			id, revision, found := strings.Cut(writer.output.Text(), " ")
			require.True(t, found)
			number, err := strconv.ParseUint(revision, 10, 64)
			require.NoError(t, err)
			acknowledged[id] = max(acknowledged[id], number)
			if n == 500 {
				// No Wait yet, which would close the pipe over what is in it.
				require.NoError(t, writer.cmd.Process.Kill())
			}
		}
		writer.kill()

		b, err := badger.Open(dir, nil)
		require.NoError(t, err)
		for id, revision := range acknowledged {
			r, err := b.Get(testContext(t), id)
			if assert.NoError(t, err, id) {
				assert.GreaterOrEqual(t, r.Revision, revision, id)
			}
		}
		assertConsistent(t, b)
		require.NoError(t, b.Close())
	}
	assert.Greater(t, len(acknowledged), 600)
}
