package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
)

// site is a proxy with the configuration of this folder, the app behind it, and
// keystore or what stands in for it.
type site struct {
	proxy proxy
	app   *recorder
	from  string // the address of the client, "" for that of the system's choice
}

type proxy interface {
	Addr() string
	Log() string
}

// proxies start a proxy in front of the app that asks keystore at that address.
var proxies = map[string]func(t *testing.T, keystore, app string) proxy{
	"nginx": func(t *testing.T, keystore, app string) proxy { return startNginx(t, keystore, app) },
	"caddy": func(t *testing.T, keystore, app string) proxy {
		addr, admin := testserver.FreeAddr(t), testserver.FreeAddr(t)
		file := configuration(t, "Caddyfile", map[string]string{"8000": addr, "8080": keystore, "9000": app, "2019": admin})
		return testserver.StartCaddy(t, addr, admin, file)
	},
}

func startNginx(t *testing.T, keystore, app string) *testserver.Nginx {
	addr := testserver.FreeAddr(t)
	return testserver.StartNginx(t, addr, nginxFiles(t, addr, keystore, app))
}

func nginxFiles(t *testing.T, addr, keystore, app string) map[string]string {
	return map[string]string{
		"nginx.conf":    configuration(t, "nginx.conf", nil),
		"keystore.conf": configuration(t, "keystore.conf", map[string]string{"8000": addr, "8080": keystore, "9000": app}),
	}
}

// configuration is a file of this folder with other ports, which are those of
// addresses on 127.0.0.1.
func configuration(t *testing.T, name string, ports map[string]string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	var pairs []string
	for old, addr := range ports {
		require.Contains(t, string(text), old)
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		pairs = append(pairs, old, port)
	}
	return strings.NewReplacer(pairs...).Replace(string(text))
}

// newSite starts the app and the proxy.
func newSite(t *testing.T, kind, keystore string) *site {
	t.Helper()
	app := newRecorder(t, answer)
	return &site{proxy: proxies[kind](t, keystore, app.addr), app: app}
}

// each runs a test with each proxy.
func each(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{"nginx", "caddy"} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

// recorder is an HTTP server that keeps what it is asked.
type recorder struct {
	addr string
	mu   sync.Mutex
	seen []*request
}

type request struct {
	*http.Request
	body string
}

func newRecorder(t *testing.T, handler http.HandlerFunc) *recorder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	rec := &recorder{addr: listener.Addr().String()}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = fmt.Append(nil, err)
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		rec.mu.Lock()
		rec.seen = append(rec.seen, &request{r, string(body)})
		rec.mu.Unlock()
		handler(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return rec
}

// take returns what was asked since the last call.
func (rec *recorder) take() []*request {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	seen := rec.seen
	rec.seen = nil
	return seen
}

// one is take where there must be one.
func (rec *recorder) one(t *testing.T) *request {
	t.Helper()
	seen := rec.take()
	require.Len(t, seen, 1)
	return seen[0]
}

// reply is an answer with its body.
type reply struct {
	*http.Response
	body string
}

// send sends a request byte for byte as given, on a connection of its own. Lines are
// those of the header besides Host.
func (s *site) send(t *testing.T, method, path string, lines []string, body string) *reply {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	if s.from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.from)}
	}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.proxy.Addr())
	if err != nil && s.from != "" {
		t.Skipf("this system has not the address %s: %v", s.from, err)
	}
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	head := slices.Concat([]string{method + " " + path + " HTTP/1.1", "Host: app.example", "Connection: close"}, lines)
	if body != "" {
		head = append(head, fmt.Sprint("Content-Length: ", len(body)))
	}
	_, err = io.WriteString(conn, strings.Join(head, "\r\n")+"\r\n\r\n"+body)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return &reply{response, string(text)}
}

func (s *site) get(t *testing.T, path string, lines ...string) *reply {
	t.Helper()
	return s.send(t, http.MethodGet, path, lines, "")
}

func bearer(token string) string { return "Authorization: Bearer " + token }
