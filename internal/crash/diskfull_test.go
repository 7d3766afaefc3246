//go:build linux

package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

const (
	mib     = 1 << 20
	reserve = 128 * mib // the driver's default
)

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	output, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "tmpfs", dir).CombinedOutput()
	if err != nil {
		t.Skipf("needs a tmpfs of its own, and may not mount one: run it as root, in a container with --cap-add SYS_ADMIN (%v: %s)", err, output)
	}
	t.Cleanup(func() {
		output, err := exec.Command("umount", dir).CombinedOutput()
		assert.NoError(t, err, "%s", output)
	})
	return dir
}

// eat writes a file that leaves no more than so much of the disk free, and returns
// its path.
func eat(t *testing.T, disk string, leave int64) string {
	t.Helper()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(disk, &st))
	f, err := os.CreateTemp(disk, "other-*")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	if surplus := int64(st.Bavail)*st.Bsize - leave; surplus > 0 {
		require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, surplus))
	}
	return f.Name()
}

// A disk fills up by the store's own writes: they are refused at the reserve, and
// nothing else is. When there is room they go on, with the same handle.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	disk := smallDisk(t, 256*mib)
	dir := filepath.Join(disk, "store")
	b := openStore(t, "badger://"+dir)
	ks := keystoreAt(t, b, 0)
	first, firstKey, err := ks.Generate(ctx, largeKey())
	require.NoError(t, err)
	due := largeKey()
	due.TTL = time.Hour
	_, dueKey, err := ks.Generate(ctx, due)
	require.NoError(t, err)

	other := eat(t, disk, reserve+24*mib)
	tokens := append(fillUp(t, ks), first.Reveal())
	require.Greater(t, len(tokens), 500)
	rest := eat(t, disk, reserve*3/4) // also what a compaction may have given back since
	checkNoSpace(t, refusals(t, ks, firstKey.ID))

	for _, token := range tokens {
		_, err := ks.Lookup(ctx, token)
		require.NoError(t, err, "lookups go on, and what was refused changed nothing")
	}
	assert.Len(t, listing(ctx, t, ks, "owner"), len(tokens)+1)

	// What makes the store smaller goes on down to half of the reserve.
	require.NoError(t, ks.Delete(ctx, firstKey.ID))
	purged, err := keystoreAt(t, b, (100 * time.Hour).Milliseconds()).Purge(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, purged)
	_, err = ks.Get(ctx, dueKey.ID)
	require.ErrorIs(t, err, keystore.ErrNotFound)
	tokens = tokens[:len(tokens)-1]
	files := []string{other, rest}
	for refused := false; !refused; {
		require.Less(t, len(files), 20, "compactions do not give room back so often")
		files = append(files, eat(t, disk, reserve/2-mib))
		if err := ks.Delete(ctx, idOf(t, ks, tokens[0])); err != nil {
			checkNoSpace(t, map[string]error{"Delete": err})
			refused = true
		} else {
			tokens = tokens[1:] // a compaction had ended in between
		}
	}
	require.NoError(t, lookUpAll(ctx, ks, tokens))

	// Room: the same handle writes again.
	for _, file := range files {
		require.NoError(t, os.Remove(file))
	}
	_, err = ks.Revoke(ctx, idOf(t, ks, tokens[0]), "leaked")
	require.NoError(t, err)
	for range 100 {
		token, _, err := ks.Generate(ctx, largeKey())
		require.NoError(t, err)
		tokens = append(tokens, token.Reveal())
	}
	closeStore(t, b)

	ks = keystoreAt(t, openStore(t, "badger://"+dir), 0)
	_, err = ks.Lookup(ctx, tokens[0])
	require.ErrorIs(t, err, keystore.ErrRevoked)
	for _, token := range tokens[1:] {
		_, err := ks.Lookup(ctx, token)
		require.NoError(t, err)
	}
	assert.Len(t, listing(ctx, t, ks, "owner"), len(tokens))
}

// fillUp generates keys with several writers until each is refused.
func fillUp(t *testing.T, ks *keystore.Keystore) (tokens []string) {
	t.Helper()
	ctx := testContext(t)
	var mu sync.Mutex
	var filling sync.WaitGroup
	for range 8 {
		filling.Go(func() {
			for range 10_000 {
				token, _, err := ks.Generate(ctx, largeKey())
				if err != nil {
					checkNoSpace(t, map[string]error{"Generate": err})
					return
				}
				mu.Lock()
				tokens = append(tokens, token.Reveal())
				mu.Unlock()
			}
			t.Error("the disk never filled up")
		})
	}
	filling.Wait()
	return tokens
}

// refusals tries all that makes the store grow.
func refusals(t *testing.T, ks *keystore.Keystore, id string) map[string]error {
	t.Helper()
	ctx := testContext(t)
	errs := make(map[string]error)
	_, _, errs["Generate"] = ks.Generate(ctx, largeKey())
	_, errs["Update"] = ks.Update(ctx, id, func(c *keystore.Changes) error { c.Name = "new"; return nil })
	_, errs["Expire"] = ks.Expire(ctx, id, time.UnixMilli(1))
	_, _, errs["Rotate"] = ks.Rotate(ctx, id, 0, nil)
	_, errs["Revoke"] = ks.Revoke(ctx, id, "leaked")
	return errs
}

// checkNoSpace checks that a refusal says what it is for, and leaves nothing in
// doubt.
func checkNoSpace(t *testing.T, errs map[string]error) {
	t.Helper()
	for name, err := range errs {
		assert.ErrorIs(t, err, badger.ErrNoSpace, name)
		assert.ErrorIs(t, err, keystore.ErrUnavailable, name)
		assert.NotErrorIs(t, err, keystore.ErrUnknownOutcome, name)
		assert.NotErrorIs(t, err, keystore.ErrUnauthenticated, name)
	}
}

func idOf(t *testing.T, ks *keystore.Keystore, token string) string {
	t.Helper()
	k, err := ks.Lookup(testContext(t), token)
	require.NoError(t, err)
	return k.ID
}

// Past the reserve: another program takes the last byte. What the process makes of
// that is logged; whatever it is, all that was acknowledged is there afterwards.
func TestDiskTakenByOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		reserve int64
		orders  []string // after the disk is full
		refused bool     // the first of them is refused with ErrNoSpace
	}{
		{"guarded, lookups go on until it closes", reserve, []string{orderWrite, orderLookUp, orderClose}, true},
		{"unguarded", -1, []string{orderWrite, orderLookUp, orderClose}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := smallDisk(t, 256*mib)
			dir := filepath.Join(disk, "store")
			child := startChild(t, "fill", fmt.Sprintf("%d:%s", c.reserve, dir))
			tokens, end := give(t, child, orderWrite)
			require.True(t, end.Done && end.Error == "", "%+v: %s", end, child.stderr)
			require.Len(t, tokens, 200)

			other := eat(t, disk, 0)
			for i, order := range c.orders {
				more, end := give(t, child, order)
				tokens = append(tokens, more...)
				t.Logf("%s: %s", order, result(child, end))
				if c.refused {
					require.Equal(t, i > 1 || end.Done, true, "only closing may end the process")
					require.Equal(t, order == orderWrite, end.Told)
					require.Equal(t, order == orderLookUp, end.Done && end.Error == "", "%+v", end)
				}
				if !end.Done {
					break
				}
			}
			_ = child.kill()
			require.NoError(t, os.Remove(other))

			require.NoError(t, lookUpAtLeast(t, openStore(t, "badger://"+dir), tokens))
		})
	}
}

// give gives the child an order, and returns the tokens it got meanwhile and how
// it ended; not Done if the process did.
func give(t *testing.T, c *child, order string) (tokens []string, end filled) {
	t.Helper()
	require.NoError(t, c.tell(order))
	for {
		var f filled
		if !c.next(&f) || f.Done {
			return tokens, f
		}
		tokens = append(tokens, f.Token)
	}
}

func result(c *child, end filled) string {
	switch {
	case end.Error != "":
		return "error: " + end.Error
	case end.Done:
		return "done"
	}
	return fmt.Sprintf("the process ended: %v: %s", c.wait(), firstLines(c.stderr.String()))
}

// lookUpAtLeast allows for one key more than was acknowledged: the one that was
// under way.
func lookUpAtLeast(t *testing.T, b backend.Backend, tokens []string) error {
	t.Helper()
	ks := keystoreAt(t, b, 0)
	for _, token := range tokens {
		if _, err := ks.Lookup(testContext(t), token); err != nil {
			return err
		}
	}
	if n := len(listing(testContext(t), t, ks, "owner")); n > len(tokens)+1 {
		return fmt.Errorf("%d keys are listed, and %d tokens known", n, len(tokens))
	}
	return nil
}
