// Package http_test measures what API keys cost an HTTP server: the middleware beside
// the handler without it, and keystore serve behind nginx beside a server that says yes
// to everything:
//
//	go test -bench . ./http
//
// Client, proxy and servers share the machine's cores. The connections are kept, and
// each has one request at a time.
package http_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/keystore"
	_ "example.com/keystore/badger"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/internal/testserver"
)

// staticVariable makes this binary a server that answers 204 to everything, on the
// address that it holds.
const staticVariable = "KEYSTORE_BENCH_STATIC"

func TestMain(m *testing.M) {
	if addr := os.Getenv(staticVariable); addr != "" {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		})))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if built.dir != "" {
			_ = os.RemoveAll(built.dir)
		}
		os.Exit(code)
	}))
}

// clients is how many connections are used at once.
const clients = 64

// startStatic starts the server that says yes to everything, in a process of its own
// as keystore is.
func startStatic(b *testing.B) *testserver.Server {
	b.Helper()
	program, err := os.Executable()
	must(b, err)
	addr := testserver.FreeAddr(b)
	return testserver.StartProgram(b, testserver.Program{Path: program, Addr: addr, Env: []string{staticVariable + "=" + addr}})
}

// built is the keystore program.
var built struct {
	sync.Once
	dir string
	out []byte
	err error
}

// startKeystore starts keystore serve on a store in a folder, with default settings,
// and returns it with a token.
func startKeystore(b *testing.B) (s *testserver.Server, token string) {
	b.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "keystore-bench-"); built.err == nil {
			build := exec.Command("go", "build", "-o", built.dir+"/", "./cmd/keystore")
			build.Dir = filepath.Join("..", "..") // the module of the program
			built.out, built.err = build.CombinedOutput()
		}
	})
	if built.err != nil {
		b.Fatalf("%v\n%s", built.err, built.out)
	}
	storeURL := "badger://" + filepath.ToSlash(b.TempDir()) + "/keys"
	ks, err := keystore.Open(b.Context(), storeURL, nil)
	must(b, err)
	t, _, err := ks.Generate(b.Context(), stores.Params("alice"))
	must(b, err)
	must(b, ks.Close())
	addr := testserver.FreeAddr(b)
	return testserver.StartProgram(b, testserver.Program{
		Path: filepath.Join(built.dir, "keystore"), Addr: addr, Env: []string{"KEYSTORE_URL=" + storeURL},
		Args: []string{"serve", "--listen", addr, "--trusted-proxy", "127.0.0.1/32"},
	}), t.Reveal()
}

// startNginx starts nginx with the configuration of examples/forwardauth in front of
// the app. Without an app it answers by itself to who may pass.
func startNginx(b *testing.B, keystore, app string) *testserver.Nginx {
	b.Helper()
	addr := testserver.FreeAddr(b)
	replace := []string{
		"127.0.0.1:8000", addr, "127.0.0.1:8080", keystore,
		"access_log access.log;", "access_log off;\n\tkeepalive_requests 1000000000;", // the benchmark's own connections are kept
	}
	if app == "" {
		replace = append(replace, "location / {\n\t\tproxy_pass http://app;", "location / {\n\t\tempty_gif;")
	} else {
		replace = append(replace, "127.0.0.1:9000", app)
	}
	files, all := map[string]string{}, ""
	for _, name := range []string{"nginx.conf", "keystore.conf"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", "forwardauth", name))
		must(b, err)
		all += string(text)
		files[name] = strings.NewReplacer(replace...).Replace(string(text))
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(all, replace[i]) {
			b.Fatalf("the configuration of the example has not %q", replace[i])
		}
	}
	return testserver.StartNginx(b, addr, files)
}

// serve serves a handler in this process.
func serve(b *testing.B, handler http.Handler) (addr string) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	b.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return listener.Addr().String()
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
