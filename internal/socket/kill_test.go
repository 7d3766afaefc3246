package socket_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/socket"
)

// servedPath is the variable that makes this program a server of the Badger folder
// which it names, at keystore.sock in it.
const servedPath = "KEYSTORE_SOCKET_TEST_FOLDER"

func serveForever(dir string) {
	b, err := badger.Open(dir, nil)
	if err == nil {
		var l, listening = socket.Listen(filepath.Join(dir, "keystore.sock"))
		if err = listening; err == nil {
			fmt.Println("ready")
			err = socket.Serve(context.Background(), l, socket.Handler(b, nil), nil)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// startServer starts a process that serves the folder, and returns what kills it.
func startServer(t *testing.T, dir string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), servedPath+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	require.True(t, bufio.NewScanner(out).Scan(), "the server does not begin")
	return kill
}

// TestServerKilledUnderWrites kills the server under a load of writes, again and
// again: what was acknowledged is there, what was said to have had no effect is not,
// and no answer of the contract is given for an outcome that nobody knows.
func TestServerKilledUnderWrites(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	path := filepath.Join(dir, "keystore.sock")
	stored, absent := map[string]bool{}, map[string]bool{}
	unknown := 0
	for round := range rounds() {
		kill := startServer(t, dir) // over the socket that the killed one left
		b, err := socket.Open(path)
		require.NoError(t, err)
		const writers = 4
		type outcome struct {
			id  string
			err error
		}
		outcomes := make(chan outcome)
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for n, failed := 0, 0; failed < 100; n++ {
					id := fmt.Sprintf("r%d-w%d-%d", round, w, n)
					err := b.Create(context.Background(), backend.Record{ID: id, Owner: "o", Data: []byte(id)})
					outcomes <- outcome{id, err}
					if errors.Is(err, backend.ErrNotApplied) { // the server is gone
						return
					}
					if err != nil {
						failed++
					}
				}
			})
		}
		go func() { group.Wait(); close(outcomes) }()
		done, refused := 0, 0
		for o := range outcomes {
			if done++; done == 20 {
				go kill() // while others are on their way
			}
			switch {
			case o.err == nil:
				stored[o.id] = true
				continue
			case errors.Is(o.err, backend.ErrNotApplied):
				absent[o.id] = true
				refused++
			default:
				unknown++
			}
			for _, answer := range []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed} {
				assert.NotErrorIs(t, o.err, answer)
			}
			assert.NotContains(t, o.err.Error(), dir)
		}
		require.Equal(t, writers, refused, "a dial that is refused has had no effect")
		kill()
		_, err = b.Get(t.Context(), "x")
		require.ErrorIs(t, err, socket.ErrNoServer)
		require.ErrorIs(t, b.Create(t.Context(), backend.Record{ID: "x", Owner: "o"}), backend.ErrNotApplied, "a dial that is refused")
		require.NoError(t, b.Close())
	}
	b, err := badger.Open(dir, nil) // beside the socket that was left
	require.NoError(t, err)
	defer b.Close()
	for id := range stored {
		r, err := b.Get(t.Context(), id)
		require.NoError(t, err, "acknowledged, and lost")
		require.Equal(t, id, string(r.Data))
	}
	for id := range absent {
		_, err := b.Get(t.Context(), id)
		require.ErrorIs(t, err, backend.ErrNotFound, "not applied, and there")
	}
	t.Logf("stored %d, not applied %d, unknown %d", len(stored), len(absent), unknown)
}

func rounds() int {
	if os.Getenv("KEYSTORE_TEST_LONG") == "1" {
		return 100
	}
	return 3
}

// TestSubscriptionEndsWithTheServer also shows that a handle works again with the
// next server at the path.
func TestSubscriptionEndsWithTheServer(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	kill := startServer(t, dir)
	b := open(t, filepath.Join(dir, "keystore.sock"))
	changes, err := b.(backend.Watcher).Watch(t.Context())
	require.NoError(t, err)
	kill()
	select {
	case _, ok := <-changes:
		require.False(t, ok)
	case <-time.After(10 * time.Second):
		t.Fatal("the channel is open")
	}
	_, err = b.(backend.Watcher).Watch(t.Context())
	require.ErrorIs(t, err, socket.ErrNoServer)
	startServer(t, dir)
	require.NoError(t, b.Create(t.Context(), backend.Record{ID: "x", Owner: "o"}))
}
