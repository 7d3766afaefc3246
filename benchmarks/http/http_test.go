package http_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/keystore"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
	"example.com/keystore/httpauth"
)

// turn is how long a turn of each side takes: many times as long as it takes all
// clients to begin and end.
const turn = 150 * time.Millisecond

// hello is an app that does next to nothing: what it does besides would hide what the
// middleware costs.
func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "hello\n")
}

// BenchmarkMiddleware compares a handler behind Require, asked with a key that is in
// the cache, with the same handler alone, each in a server of this process.
func BenchmarkMiddleware(b *testing.B) {
	s := stores.Open(b, "memory", 1000)
	defer s.Close()
	auth, err := httpauth.New(s.Keystore(keystore.Options{}), nil)
	must(b, err)
	plain := http.HandlerFunc(hello)
	bare, guarded := serve(b, plain), serve(b, auth.Require(stores.Scope)(plain))
	for _, callers := range []int{1, clients} {
		b.Run(fmt.Sprintf("clients=%d", callers), func(b *testing.B) {
			compare(b, callers,
				newPool(b, callers, bare, "/", s.Tokens[0], http.StatusOK),
				newPool(b, callers, guarded, "/", s.Tokens[0], http.StatusOK))
		})
	}
}

// BenchmarkNginx compares nginx that asks keystore serve about each request with the
// same nginx asking a server that answers 204 to everything. With app=none nginx itself
// has the answer for the client, so that nothing but the question is left; with app=go
// it passes the request on, as it does in earnest.
func BenchmarkNginx(b *testing.B) {
	server, token := startKeystore(b)
	static := startStatic(b)
	for _, app := range []struct{ name, addr string }{{"none", ""}, {"go", serve(b, http.HandlerFunc(hello))}} {
		raw, ours := startNginx(b, static.Addr(), app.addr), startNginx(b, server.Addr(), app.addr)
		for _, callers := range []int{1, clients} {
			b.Run(fmt.Sprintf("app=%s/clients=%d", app.name, callers), func(b *testing.B) {
				compare(b, callers,
					newPool(b, callers, raw.Addr(), "/", token, http.StatusOK),
					newPool(b, callers, ours.Addr(), "/", token, http.StatusOK))
			})
		}
	}
}

// compare lets both pools take turns.
func compare(b *testing.B, callers int, raw, ours *pool) {
	b.Helper()
	r := turns.Run(b, &turns.Pair{Callers: callers, Turn: turn, Raw: turns.Side{Op: raw.do}, Ours: turns.Side{Op: ours.do}})
	b.ReportMetric(1/r.Ratio, "speedup")
}

// BenchmarkVerify measures how long clients wait for /verify of keystore serve, itself
// and behind nginx with an app, and for a server in its place that answers 204. As many
// clients as there are ask again as soon as they are answered, so that most of the time
// is waiting for a core.
func BenchmarkVerify(b *testing.B) {
	server, token := startKeystore(b)
	static := startStatic(b)
	app := serve(b, http.HandlerFunc(hello))
	nginx := startNginx(b, server.Addr(), app)
	for _, c := range []struct {
		name, addr, path string
		status           int
	}{
		{"of=static", static.Addr(), "/verify/-", http.StatusNoContent},
		{"of=keystore", server.Addr(), "/verify/-", http.StatusOK},
		{"of=nginx-keystore-app", nginx.Addr(), "/", http.StatusOK},
	} {
		b.Run(fmt.Sprintf("%s/clients=%d", c.name, clients), func(b *testing.B) {
			latency(b, newPool(b, clients, c.addr, c.path, token, c.status))
		})
	}
}

// latency has all clients of the pool ask for as long as the benchmark runs, a turn at
// a time, and reports how long they waited.
func latency(b *testing.B, p *pool) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		took = append(took, ask(b, p)...)
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Microseconds())
	}
	b.ReportMetric(at(0.5), "p50-us")
	b.ReportMetric(at(0.99), "p99-us")
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(0, "ns/op")
}

// ask is one turn.
func ask(b *testing.B, p *pool) []time.Duration {
	b.Helper()
	all, failures := make([][]time.Duration, clients), make([]error, clients)
	var wg sync.WaitGroup
	end := time.Now().Add(turn)
	for i := range clients {
		wg.Go(func() {
			for before := time.Now(); before.Before(end) && failures[i] == nil; {
				failures[i] = p.do(0)
				now := time.Now()
				all[i] = append(all[i], now.Sub(before))
				before = now
			}
		})
	}
	wg.Wait()
	for _, err := range failures {
		must(b, err)
	}
	return slices.Concat(all...)
}
