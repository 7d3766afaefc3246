package crash

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/badger"
)

// counting says before each Read or Write how many bytes went before. A Write
// then waits for the parent's word.
type counting struct {
	io.Reader
	io.Writer
	bytes int
}

func (c *counting) Read(p []byte) (int, error) {
	if err := say(c.bytes); err != nil {
		return 0, err
	}
	n, err := c.Reader.Read(p)
	c.bytes += n
	return n, err
}

func (c *counting) Write(p []byte) (int, error) {
	if err := say(c.bytes); err != nil {
		return 0, err
	}
	var goOn bool
	if err := hear(&goOn); err != nil {
		return 0, err
	}
	c.bytes += len(p)
	return c.Writer.Write(p)
}

// killAfter kills the child when it has said so many bytes.
func killAfter(t *testing.T, c *child, bytes int) {
	t.Helper()
	reached := 0
	for c.next(&reached) {
		if reached >= bytes {
			c.signal()
		}
	}
	require.Error(t, c.wait())
	require.GreaterOrEqual(t, reached, bytes, "the child ended by itself: %s", c.stderr)
}

// restoreFromInput restores what its parent writes to it.
func restoreFromInput(dir string) error {
	b, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	if err := b.Restore(&counting{Reader: os.Stdin}); err != nil {
		return err
	}
	return b.Close()
}

// backUp writes a backup of the store beside its folder.
func backUp(dir string) error {
	b, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	f, err := os.Create(dir + ".backup")
	if err != nil {
		return err
	}
	return b.Backup(&counting{Writer: f})
}

// A store in which a Restore was killed works for nobody until Restore has
// succeeded, and then it holds everything.
func TestKillDuringRestore(t *testing.T) {
	t.Parallel()
	random := newRand(t)
	keys, tokens, backup := backupOfSome(t)
	most := len(backup) - 64<<10
	// From the second read on the mark is there: what the first brings begins like a backup.
	kills := []int{1, most / 2, most}
	for range sized(0, 20) {
		kills = append(kills, 1+random.IntN(most))
	}
	for _, kill := range kills {
		dir := t.TempDir()
		c := startChild(t, "restore", dir)
		var feeding sync.WaitGroup
		feeding.Go(func() { _, _ = c.input.Write(backup[:len(backup)-1]) }) // it cannot come to the end
		killAfter(t, c, kill)
		feeding.Wait()

		b := openFolder(t, dir)
		_, err := keystoreAt(t, b, 0).Lookup(testContext(t), tokens[0])
		assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
		assert.ErrorIs(t, err, keystore.ErrUnavailable)
		assert.NotErrorIs(t, err, keystore.ErrUnauthenticated)
		_, _, err = keystoreAt(t, b, 0).Generate(testContext(t), keystore.KeyParams{Owner: "owner"})
		assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)

		require.NoError(t, b.Restore(bytes.NewReader(backup)))
		requireRestored(t, b, keys, tokens)
		closeStore(t, b)
	}
}

// What a killed Backup leaves is refused, and the store it read has lost nothing.
func TestKillDuringBackup(t *testing.T) {
	t.Parallel()
	keys, tokens, backup := backupOfSome(t)
	dir := filepath.Join(t.TempDir(), "store")
	b := openFolder(t, dir)
	require.NoError(t, b.Restore(bytes.NewReader(backup)))
	closeStore(t, b)

	c := startChild(t, "backup", dir)
	for reached := 0; c.next(&reached); {
		if reached >= len(backup)/2 {
			c.signal()
		} else {
			require.NoError(t, c.tell(true))
		}
	}
	require.Error(t, c.wait())
	part, err := os.ReadFile(dir + ".backup")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(part), len(backup)/2)
	require.Less(t, len(part), len(backup))
	other := openFolder(t, t.TempDir())
	require.ErrorIs(t, other.Restore(bytes.NewReader(part)), badger.ErrUnfinishedRestore)
	require.NoError(t, other.Restore(bytes.NewReader(backup)), "and a whole one is taken after it")
	requireRestored(t, other, keys, tokens)

	requireRestored(t, openFolder(t, dir), keys, tokens)
}

// backupOfSome makes keys whose backup takes several of Badger's transactions.
// The first of them is revoked.
func backupOfSome(t *testing.T) (keys map[string]keystore.Key, tokens []string, backup []byte) {
	t.Helper()
	ctx := testContext(t)
	b, err := badger.Open("", &badger.Options{InMemory: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	ks := keystoreAt(t, b, 1)
	for n := range 300 {
		token, k, err := ks.Generate(ctx, keystore.KeyParams{
			Owner: fmt.Sprint("owner-", n%3), Metadata: map[string]string{"padding": strings.Repeat("x", 10<<10)},
		})
		require.NoError(t, err)
		tokens = append(tokens, token.Reveal())
		if n == 0 {
			_, err = ks.Revoke(ctx, k.ID, "leaked")
			require.NoError(t, err)
		}
	}
	var out bytes.Buffer
	require.NoError(t, b.Backup(&out))
	return listing(ctx, t, ks, ""), tokens, out.Bytes()
}

func requireRestored(t *testing.T, b *badger.Backend, keys map[string]keystore.Key, tokens []string) {
	t.Helper()
	ctx := testContext(t)
	ks := keystoreAt(t, b, 1)
	require.Equal(t, keys, listing(ctx, t, ks, ""))
	checkOwners(ctx, t, ks, keys)
	for n, token := range tokens {
		_, err := ks.Lookup(ctx, token)
		if n == 0 {
			require.ErrorIs(t, err, keystore.ErrRevoked)
		} else {
			require.NoError(t, err)
		}
	}
}
