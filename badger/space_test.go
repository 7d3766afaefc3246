package badger_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// smallDisk mounts a file system of its own, of size MiB.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("mounts a tmpfs, so it needs Linux")
	}
	dir := t.TempDir()
	output, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", size), "tmpfs", dir).CombinedOutput()
	if err != nil {
		t.Skipf("may not mount a tmpfs: %v: %s", err, output)
	}
	t.Cleanup(func() {
		output, err := exec.Command("umount", dir).CombinedOutput()
		assert.NoError(t, err, "%s", output)
	})
	return dir
}

// fillDisk writes a file that leaves only so many bytes free.
func fillDisk(t *testing.T, path string, leave int64) {
	t.Helper()
	free, err := badger.FreeSpace(filepath.Dir(path))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, make([]byte, max(0, free-leave)), 0o600))
}

// Many writers fill a small disk. Without the guard this ends the process.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 224)
	b := open(t, filepath.Join(disk, "store"), nil)
	ctx := testContext(t)
	create(t, b, record("first", "owner", "data"))

	data := strings.Repeat("x", 60<<10)
	var group sync.WaitGroup
	for worker := range 64 {
		group.Go(func() {
			for n := range 1000 {
				err := b.Create(ctx, record(fmt.Sprintf("%d-%d", worker, n), "owner", data))
				if errors.Is(err, badger.ErrNoSpace) {
					assert.ErrorIs(t, err, backend.ErrNotApplied)
					return
				}
				if !assert.NoError(t, err) {
					return
				}
			}
			t.Error("the disk never filled up")
		})
	}
	group.Wait()
	_, err := b.Get(ctx, "first")
	require.NoError(t, err, "reading goes on")
	require.NoError(t, b.Delete(ctx, "first"), "and so does deleting")
}

// What is refused as others fill the disk.
func TestReserve(t *testing.T) {
	disk := smallDisk(t, 64)
	const reserve = 32 << 20
	b := open(t, filepath.Join(disk, "store"), &badger.Options{Reserve: reserve})
	ctx := testContext(t)
	due := record("due", "owner", "data")
	due.PurgeAt = time.UnixMilli(1)
	create(t, b, record("first", "owner", "data"), record("second", "owner", "data"), due)

	fillDisk(t, filepath.Join(disk, "filler"), reserve*3/4)
	growing := map[string]error{
		"Create": b.Create(ctx, record("new", "owner", "data")),
		"Update": b.Update(ctx, backend.Record{ID: "first", Revision: 1}),
		"Touch":  b.Touch(ctx, map[string]time.Time{"first": time.UnixMilli(1)}),
	}
	for name, err := range growing {
		assert.ErrorIs(t, err, badger.ErrNoSpace, name)
		assert.ErrorIs(t, err, backend.ErrNotApplied, name)
	}
	require.NoError(t, b.Delete(ctx, "second"))
	purged, err := b.Purge(ctx, time.UnixMilli(1), 10)
	require.NoError(t, err)
	assert.Equal(t, 1, purged)

	fillDisk(t, filepath.Join(disk, "more filler"), reserve/4)
	assert.ErrorIs(t, b.Delete(ctx, "first"), badger.ErrNoSpace)
	r, err := b.Get(ctx, "first")
	require.NoError(t, err)
	assert.Equal(t, "data", string(r.Data))
}

// Writes work again as soon as there is room.
func TestRoomComesBack(t *testing.T) {
	disk := smallDisk(t, 64)
	b := open(t, filepath.Join(disk, "store"), &badger.Options{Reserve: 32 << 20})
	filler := filepath.Join(disk, "filler")
	for n := range 3 {
		create(t, b, record(fmt.Sprint("id-", n), "owner", "data"))
		fillDisk(t, filler, 20<<20)
		assert.ErrorIs(t, b.Create(testContext(t), record("refused", "owner", "data")), badger.ErrNoSpace)
		require.NoError(t, os.Remove(filler))
	}
	assert.Len(t, listAll(t, b, ""), 3)
}

func TestOpenOnFullDisk(t *testing.T) {
	disk := smallDisk(t, 64)
	dir := filepath.Join(disk, "store")
	b, err := badger.Open(dir, &badger.Options{Reserve: 16 << 20})
	require.NoError(t, err)
	create(t, b, record("id", "owner", "data"))
	require.NoError(t, b.Close())

	filler := filepath.Join(disk, "filler")
	fillDisk(t, filler, 4<<20)
	_, err = badger.Open(dir, &badger.Options{Reserve: 16 << 20})
	require.ErrorIs(t, err, badger.ErrNoSpace)
	require.NoError(t, os.Remove(filler))
	b = open(t, dir, &badger.Options{Reserve: 16 << 20})
	_, err = b.Get(testContext(t), "id")
	require.NoError(t, err)
}

func TestReserveOfSharedDatabase(t *testing.T) {
	if free, err := badger.FreeSpace(t.TempDir()); err != nil || free == math.MaxInt64 {
		t.Skip("this system does not tell free space")
	}
	disk := open(t, t.TempDir(), nil)
	greedy := handleOn(t, badger.Database(disk), &badger.Options{Reserve: math.MaxInt64})
	assert.ErrorIs(t, greedy.Create(context.Background(), record("id", "owner", "data")), badger.ErrNoSpace)
	unguarded := handleOn(t, badger.Database(disk), &badger.Options{Reserve: -1})
	create(t, unguarded, record("id", "owner", "data"))

	memory := handleOn(t, newMemoryDB(t), &badger.Options{Reserve: math.MaxInt64})
	create(t, memory, record("id", "owner", "data"))
}

func BenchmarkFreeSpace(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if _, err := badger.FreeSpace(dir); err != nil {
			b.Fatal(err)
		}
	}
}
