package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is one run of the program.
type service struct {
	t      *testing.T
	url    string
	token  string // that it printed
	end    func()
	client http.Client
}

func start(t *testing.T, c config) *service {
	s := &service{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	done := make(chan error, 1)
	c.listen = "127.0.0.1:0"
	go func() {
		err := run(ctx, write, c)
		write.Close()
		done <- err
	}()
	lines := bufio.NewScanner(read)
	for s.url == "" && lines.Scan() {
		if token, ok := strings.CutPrefix(lines.Text(), "A key for alice, shown this once: "); ok {
			s.token = token
		}
		s.url, _ = strings.CutPrefix(lines.Text(), "Listening on ")
		if !strings.HasPrefix(s.url, "https://") {
			s.url = ""
		}
	}
	if s.url == "" {
		require.NoError(t, <-done)
		require.FailNow(t, "it ended without an address")
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // as curl -k
	s.client.Transport = transport
	s.end = func() {
		transport.CloseIdleConnections()
		cancel()
		rest, err := io.ReadAll(read)
		require.NoError(t, err)
		require.NoError(t, <-done)
		assert.Equal(t, "Ended\n", string(rest))
		s.end = func() {}
	}
	t.Cleanup(func() { s.end() })
	return s
}

func (s *service) ask(method, path, token, body string) (int, string) {
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.client.Do(r)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	return answer.StatusCode, strings.TrimSpace(string(text))
}

func TestAsANewcomerWould(t *testing.T) {
	store := "badger://" + filepath.ToSlash(filepath.Join(t.TempDir(), "keys"))
	s := start(t, config{store: store})
	require.Regexp(t, keystore.Pattern("sk_test"), s.token, "the first key of an empty store is shown")

	status, body := s.ask("GET", "/", "", "")
	assert.Equal(t, 200, status)
	assert.Contains(t, body, "POST /orders")
	status, body = s.ask("GET", "/orders", s.token, "")
	assert.Equal(t, 200, status)
	assert.Equal(t, "[]", body)
	status, body = s.ask("POST", "/orders", s.token, `{"item":"tea"}`)
	assert.Equal(t, 201, status)
	assert.Equal(t, `{"id":1,"item":"tea"}`, body)
	status, body = s.ask("GET", "/orders", s.token, "")
	assert.Equal(t, 200, status)
	assert.Equal(t, `[{"id":1,"item":"tea"}]`, body)

	for _, method := range []string{"GET", "POST"} {
		for _, token := range []string{"", "wrong", s.token + "x"} {
			status, body = s.ask(method, "/orders", token, `{"item":"tea"}`)
			assert.Equal(t, 401, status, body)
			assert.NotContains(t, body, "tea")
		}
	}
	for _, bad := range []string{"", "x", "{}", `{"item":"` + strings.Repeat("x", 5000) + `"}`} {
		status, _ = s.ask("POST", "/orders", s.token, bad)
		assert.Equal(t, 400, status)
	}
	token := s.token
	s.end()

	s = start(t, config{store: store})
	assert.Empty(t, s.token, "a store that holds keys gets no other")
	status, _ = s.ask("GET", "/orders", token, "")
	assert.Equal(t, 200, status, "the key is still good")
	s.end()

	s = start(t, config{store: store, owner: "alice"})
	assert.NotEqual(t, token, s.token)
	status, _ = s.ask("GET", "/orders", s.token, "")
	assert.Equal(t, 200, status)
}

func TestTheDefaultFolderIsTheUsersOwn(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("LocalAppData", home) // Windows
	store, err := ownFolder()
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(store, "badger://"+filepath.ToSlash(home)), store)
}

func TestWhatIsNotServed(t *testing.T) {
	s := start(t, config{store: "memory://"})
	for _, path := range []string{"/x", "/orders/", "//orders"} {
		status, _ := s.ask("GET", path, "", "")
		assert.Contains(t, []int{404, 401}, status, path)
	}
	plain, err := http.Get(strings.Replace(s.url, "https", "http", 1))
	require.NoError(t, err)
	defer plain.Body.Close()
	assert.Equal(t, 400, plain.StatusCode, "HTTP without TLS")
	http.DefaultClient.CloseIdleConnections()
}

func TestErrorsShowNoURL(t *testing.T) {
	for _, store := range []string{"hunter2", "memory://hunter2", "redis://user:hunter2@127.0.0.1:1/0"} {
		err := run(t.Context(), io.Discard, config{store: store, listen: "127.0.0.1:0"})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	err := run(t.Context(), io.Discard, config{store: "memory://", listen: "127.0.0.1:0", cert: "missing.pem", key: "missing.pem"})
	assert.Error(t, err)
	assert.NotRegexp(t, regexp.MustCompile(keystore.Pattern("sk_test")), err.Error())
}
