package httpauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// service is a keystore of prefix "sk_test" on a store that the test can break,
// and an Auth before it.
type service struct {
	*Auth
	t     testing.TB
	ks    *keystore.Keystore
	store faulty.Backend
	log   *lockedBuffer

	mu     sync.Mutex
	outage error         // of every call of the store
	ahead  time.Duration // of the keystore's clock
}

func newService(t testing.TB, o *Options, edit ...func(*keystore.Options)) *service {
	s := &service{t: t, log: &lockedBuffer{}}
	s.store = faulty.New(memory.New(), func(faulty.Call) faulty.Fault {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.outage != nil {
			return faulty.Refuse(s.outage)
		}
		return nil
	})
	s.ks = newKeystore(t, s.store, append(edit, func(o *keystore.Options) { o.Now = s.now })...)
	s.Auth = s.another(o)
	return s
}

func newKeystore(t testing.TB, b backend.Backend, edit ...func(*keystore.Options)) *keystore.Keystore {
	o := &keystore.Options{Prefix: "sk_test", TouchInterval: keystore.Never, PurgeInterval: keystore.Never}
	for _, e := range edit {
		e(o)
	}
	ks, err := keystore.New(b, o)
	require.NoError(t, err)
	t.Cleanup(func() { ks.Close() })
	return ks
}

func uncached(o *keystore.Options) { o.CacheSize = -1 }

// another is one more Auth on the same keystore.
func (s *service) another(o *Options) *Auth {
	if o == nil {
		o = &Options{}
	}
	logged := *o
	logged.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	a, err := New(s.ks, &logged)
	require.NoError(s.t, err)
	return a
}

func (s *service) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

func (s *service) set(outage error, ahead time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage, s.ahead = outage, ahead
}

// key makes a key of alice's and returns its token.
func (s *service) key(scopes ...string) string {
	token, _ := s.generate(keystore.KeyParams{Scopes: scopes})
	return token
}

func (s *service) generate(p keystore.KeyParams) (string, keystore.Key) {
	s.t.Helper()
	if p.Owner == "" {
		p.Owner = "alice"
	}
	token, key, err := s.ks.Generate(s.t.Context(), p)
	require.NoError(s.t, err)
	return token.Reveal(), key
}

// calls counts the reads of the store.
func (s *service) calls() int { return s.store.Calls(faulty.Get) }

// newRequest is a GET of / with header fields, given as "Name: value".
func newRequest(target string, fields ...string) *http.Request {
	r := httptest.NewRequest("GET", target, nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		r.Header.Add(name, strings.TrimPrefix(value, " "))
	}
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// with asks a handler by Bearer.
func with(h http.Handler, token string) *httptest.ResponseRecorder {
	return serve(h, newRequest("/", "Authorization: Bearer "+token))
}

// greet answers with the owner of the key.
var greet = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	key, ok := KeyFrom(r.Context())
	if !ok {
		io.WriteString(w, "hello")
		return
	}
	io.WriteString(w, "hello "+key.Owner)
})

// codeOf is the code of an answer's problem, "" of any other answer.
func codeOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Header().Get("Content-Type") != "application/problem+json" {
		require.Less(t, w.Code, 400, "an error without a problem")
		return ""
	}
	var problem struct {
		Code   string
		Status int
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
	require.Equal(t, w.Code, problem.Status)
	return problem.Code
}

// exchange sends bytes to a server and returns all that comes back until it
// closes the connection.
func exchange(t testing.TB, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	sent := make(chan struct{})
	go func() { // the server may answer, and close, before it has read everything
		defer close(sent)
		io.WriteString(conn, request)
	}()
	answer, err := io.ReadAll(conn)
	if err != nil { // a reset, since the server left something unread
		var timeout net.Error
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "no answer to the end within a minute")
	}
	conn.Close()
	<-sent
	return string(answer)
}

// lockedBuffer is a log that many goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
