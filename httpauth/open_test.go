package httpauth

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// openPaths are those of the tests of this file.
var openPaths = &Options{Open: []string{"/healthz", "/docs/index.html", "/"}, FailuresPerSecond: -1}

// Case 48: only the very path is open, in front of a mux or in it.
func TestOpenPaths(t *testing.T) {
	s := newService(t, openPaths)
	mux := http.NewServeMux()
	mux.Handle("/", greet)
	server := httptest.NewServer(s.Require()(mux))
	defer server.Close()
	ask := func(target string) string {
		raw := exchange(t, server.Listener.Addr().String(), "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		status, _, _ := strings.Cut(raw, "\r\n")
		return status
	}
	for _, target := range []string{"/healthz", "/", "/?", "/healthz?x=1", "/healthz?", "/docs/index.html", "/healthz?/x", "http://x/healthz", "http://other/healthz?x", "http:/healthz"} {
		assert.Equal(t, "HTTP/1.1 200 OK", ask(target), target)
	}
	for _, target := range []string{
		"/x?/healthz", "/x?healthz", "/x#/healthz", "//healthz", "///", "//", "/healthz/", "/healthz//", "/./healthz", "/healthz/.", "/healthz/..", "/x/../healthz",
		"/%68ealthz", "/healthz%2f", "/%2fhealthz", "/healthz%2f..%2fx", "/healthz/..%2fx", "/healthz/%2e%2e/x", "/..;/healthz", "/healthz;", "/healthz;x=1", "/healthz/..;/x",
		"/healthz%00", "/healthz%20", "/healthz.", "/healthz.json", "/HEALTHZ", "/Healthz", "/healthzx", "/health", "/x/healthz", "/healthz/x", "/docs", "/docs/", "/docs/index.html/",
		"/docs/./index.html", "/docs%2findex.html", "/docs\\index.html", "/%2e", "/..", "/.", "/healthz#", "/healthz#x", "/%", "*", "healthz", "http:healthz", "http://x//healthz", "http://x/healthz/",
	} {
		assert.NotContains(t, ask(target), "200", target)
	}
}

func TestOpenPathsHaveNoKey(t *testing.T) {
	s := newService(t, openPaths)
	h := s.Require("a")(greet)
	for _, method := range []string{"GET", "POST", "OPTIONS", "DELETE"} {
		r := newRequest("/healthz", "X-API-Key: "+s.key("a"))
		r.Method = method
		w := serve(h, r)
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, "hello", w.Body.String())
	}
	assert.Zero(t, s.calls(), "a key that nobody asks for was looked up")
}

func FuzzOpen(f *testing.F) {
	s := newService(f, openPaths)
	f.Add("/healthz")
	f.Add("/x?/healthz")
	f.Add("//healthz")
	f.Add("/%68ealthz")
	f.Add("http://x/healthz?y")
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil || r.RequestURI != target {
			return
		}
		path, _, _ := strings.Cut(target, "?")
		if !strings.HasPrefix(path, "/") { // absolute form
			_, path, _ = strings.Cut(path, ":")
			if authority, ok := strings.CutPrefix(path, "//"); ok {
				path = ""
				if slash := strings.IndexByte(authority, '/'); slash >= 0 {
					path = authority[slash:]
				}
			}
		}
		listed := false
		for _, open := range openPaths.Open {
			listed = listed || open == path
		}
		if got := s.isOpen(r.URL); got != listed {
			t.Fatalf("%q: open %v, want %v", target, got, listed)
		}
	})
}
