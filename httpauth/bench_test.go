package httpauth

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// discard is a ResponseWriter that keeps its header and nothing else.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkRequire is the middleware alone, with a key that is cached.
func BenchmarkRequire(b *testing.B) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, c := range []struct {
		name, field string
		options     *Options
		require     bool
		limits      []string
	}{
		{"without", "Authorization: Bearer ", nil, false, nil},
		{"bearer", "Authorization: Bearer ", nil, true, nil},
		{"header", "X-API-Key: ", nil, true, nil},
		{"proxied", "Authorization: Bearer ", &Options{TrustedProxies: prefixes("192.0.2.0/24")}, true, nil},
		{"strip", "Authorization: Bearer ", &Options{StripCredential: true}, true, nil},
		{"limits", "Authorization: Bearer ", nil, true, []string{"burst 999999999999999/1s", "day 999999999999999/24h"}},
		{"fields", "Authorization: Bearer ", &Options{RateLimitFields: true}, true, []string{"burst 999999999999999/1s", "day 999999999999999/24h"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newService(b, c.options)
			h := http.Handler(next)
			if c.require {
				h = s.Require("a")(next)
			}
			token, _ := s.limited("a", c.limits...)
			r := newRequest("/", c.field+token, "User-Agent: bench", "Accept: */*", "X-Forwarded-For: 198.51.100.7")
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(&discard{header: http.Header{}}, r)
			}
		})
	}
}

// BenchmarkServer is a request over a connection that stays open.
func BenchmarkServer(b *testing.B) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, name := range []string{"without", "with"} {
		b.Run(name, func(b *testing.B) {
			s := newService(b, nil)
			h := http.Handler(next)
			if name == "with" {
				h = s.Require("a")(next)
			}
			server := httptest.NewServer(h)
			defer server.Close()
			r, err := http.NewRequest("GET", server.URL, nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+s.key("a"))
			b.ReportAllocs()
			for b.Loop() {
				answer, err := server.Client().Transport.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != http.StatusNoContent {
					b.Fatal(answer.Status)
				}
			}
		})
	}
}
