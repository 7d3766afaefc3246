package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	store := new(memory.Store)
	b := faulty.New(store.Open(), func(c faulty.Call) faulty.Fault {
		if down.Load() && c.Method == faulty.Get {
			return faulty.Refuse(errors.New("the network is down"))
		}
		return nil
	})
	s := serveOn(t, b, store.Open(), nil, Config{})
	require.Eventually(t, func() bool {
		return s.get("/readyz", "").body == `{"status":"ready","store":"ok","watch":"active"}`+"\n"
	}, patience, 5*time.Millisecond)
	down.Store(true)
	var body string
	require.Eventually(t, func() bool { // the answer from before is kept for a second
		ready := s.get("/readyz", "")
		body = ready.body
		return ready.StatusCode == 503 && ready.Header.Get("Retry-After") == "1"
	}, patience, 5*time.Millisecond)
	require.Equal(t, `{"status":"unavailable","store":"unavailable","watch":"active"}`+"\n", body)
	require.Equal(t, 200, s.get("/healthz", "").StatusCode, "the process is not to be killed for it")
	down.Store(false)
	require.Eventually(t, func() bool { return s.get("/readyz", "").StatusCode == 200 }, patience, 5*time.Millisecond)
	require.Equal(t, 405, s.ask(http.MethodPost, s.url("/readyz"), "", "").StatusCode)
}

// Probes make one read of the store a second, however many they are.
func TestProbesDoNotLoadTheStore(t *testing.T) {
	store := new(memory.Store)
	b := faulty.New(store.Open(), nil)
	ks, err := keystore.New(b, &keystore.Options{TouchInterval: keystore.Never, PurgeInterval: keystore.Never, CacheSize: -1})
	require.NoError(t, err)
	defer ks.Close()
	r := newReadiness(ks)
	began := time.Now()
	var probes sync.WaitGroup
	for range 200 {
		probes.Go(func() { _ = r.ping() })
	}
	probes.Wait()
	require.LessOrEqual(t, b.Calls(faulty.Get), 1+int(time.Since(began)/pingKept))
	require.NotZero(t, b.Calls(faulty.Get))
}

// A store that is silent costs a probe a second, not longer.
func TestReadinessDoesNotWaitForASilentStore(t *testing.T) {
	t.Parallel()
	silent := faulty.New(memory.New(), faulty.Only(faulty.Block, faulty.Get))
	ks, err := keystore.New(silent, &keystore.Options{TouchInterval: keystore.Never, PurgeInterval: keystore.Never, OpTimeout: time.Hour})
	require.NoError(t, err)
	defer ks.Close()
	require.ErrorIs(t, newReadiness(ks).ping(), context.DeadlineExceeded)
}

// While it ends, a server says so to probes, serves the request under way, and
// takes no new one.
func TestGracefulEnd(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	entered, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b := faulty.New(store.Open(), faulty.Only(func(ctx context.Context, do faulty.Do) error {
		once.Do(func() { close(entered) })
		select {
		case <-gate:
			return do(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}, faulty.Get))
	s := serveOn(t, b, store.Open(), &keystore.Options{OpTimeout: time.Hour}, Config{OpsListen: "127.0.0.1:0", ShutdownTimeout: patience})
	token, id := s.generate("a")
	result := make(chan *answer, 1)
	go func() {
		a, err := ask(context.Background(), s.client, "GET", s.url("/verify"), token, "")
		if err != nil {
			a = &answer{body: err.Error()}
		}
		result <- a
	}()
	<-entered
	s.stop()
	ops := newClient()
	defer ops.CloseIdleConnections()
	require.Eventually(t, func() bool {
		a, err := ask(t.Context(), ops, "GET", "http://"+s.ops+"/readyz", "", "")
		return err == nil && a.StatusCode == 503 && a.body == `{"status":"ending","store":"unknown","watch":"active"}`+"\n"
	}, patience, time.Millisecond)
	require.Eventually(t, func() bool {
		late := newClient()
		defer late.CloseIdleConnections()
		_, err := ask(t.Context(), late, "GET", s.url("/healthz"), "", "")
		return err != nil
	}, patience, time.Millisecond)
	close(gate)
	a := <-result
	require.NotNil(t, a.Response, a.body)
	require.Equal(t, 200, a.StatusCode)
	require.NoError(t, <-s.done)
	key, err := s.keys.Get(t.Context(), id)
	require.NoError(t, err)
	require.False(t, key.LastUsedAt.IsZero(), "the use was written at the end")
}

// A request that does not end is cut off, and the server ends all the same.
func TestEndIsBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{ShutdownTimeout: 50 * time.Millisecond, timeouts: timeouts{time.Hour, time.Hour, time.Hour, time.Hour}})
	conn := s.dial()
	_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n")
	require.NoError(t, err)
	require.Equal(t, 200, s.get("/healthz", "").StatusCode) // by now the other one is accepted
	require.NoError(t, s.end())
	require.Contains(t, s.log.String(), "requests under way were cut off")
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still there")
}
