package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// patience is how long what must come may take. It is far more than it needs.
const patience = 30 * time.Second

// instance is a server that runs in this process.
type instance struct {
	t      *testing.T
	addr   string // host:port
	ops    string
	scheme string
	client *http.Client       // of the test's, with connections of its own
	keys   *keystore.Keystore // another process, as it were: a handle of its own on the store
	log    *journal
	stop   context.CancelFunc
	done   <-chan error
}

// serve starts a server on a store in memory, with Listen unless set.
func serve(t *testing.T, c Config) *instance {
	t.Helper()
	store := new(memory.Store)
	return serveOn(t, store.Open(), store.Open(), nil, c)
}

// serveOn starts a server on b. other is another handle on the same store.
func serveOn(t *testing.T, b, other backend.Backend, o *keystore.Options, c Config) *instance {
	t.Helper()
	i := &instance{t: t, log: new(journal), scheme: "http"}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.tls() {
		i.scheme = "https"
	}
	c.Logger = slog.New(slog.NewJSONHandler(i.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: RedactAttr}))
	at := make(chan addresses, 1)
	c.listening = func(a addresses) { at <- a }
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	i.stop, i.done = stop, done
	go func() { done <- Run(ctx, b, o, c); close(done) }()
	select {
	case a := <-at:
		i.addr = a[nameMain].String()
		if ops := a[nameOps]; ops != nil {
			i.ops = ops.String()
		}
	case err := <-done:
		stop()
		require.NoError(t, err)
	}
	i.client = newClient()
	keys, err := keystore.New(other, &keystore.Options{CacheSize: -1, TouchInterval: keystore.Never, PurgeInterval: keystore.Never})
	require.NoError(t, err)
	i.keys = keys
	t.Cleanup(func() {
		i.client.CloseIdleConnections()
		stop()
		<-done
		require.NoError(t, keys.Close())
		if t.Failed() {
			t.Logf("log of the server:\n%s", i.log)
		}
	})
	return i
}

func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// end ends the server and returns what Run returned.
func (i *instance) end() error {
	i.stop()
	return <-i.done
}

// generate makes a key in another process, as it were.
func (i *instance) generate(scopes ...string) (token, id string) {
	i.t.Helper()
	made, key, err := i.keys.Generate(i.t.Context(), keystore.KeyParams{Owner: "alice", Scopes: scopes, AllowReserved: true})
	require.NoError(i.t, err)
	return made.Reveal(), key.ID
}

func (i *instance) url(path string) string { return i.scheme + "://" + i.addr + path }

// get asks for a path with a token, unless that is "".
func (i *instance) get(path, token string) *answer {
	return i.ask(http.MethodGet, i.url(path), token, "")
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	body string
}

func (i *instance) ask(method, url, token, body string) *answer {
	i.t.Helper()
	a, err := ask(i.t.Context(), i.client, method, url, token, body)
	require.NoError(i.t, err)
	return a
}

func ask(ctx context.Context, client *http.Client, method, url, token, body string) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return &answer{response, string(text)}, err
}

// dial opens a bare connection.
func (i *instance) dial() net.Conn {
	i.t.Helper()
	conn, err := net.Dial("tcp", i.addr)
	require.NoError(i.t, err)
	i.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(i.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// raw sends a request byte for byte, and reads one answer.
func (i *instance) raw(request string) *answer {
	i.t.Helper()
	conn := i.dial()
	defer conn.Close()
	_, err := io.WriteString(conn, request)
	require.NoError(i.t, err)
	return i.read(bufio.NewReader(conn))
}

// read reads the next answer of a connection.
func (i *instance) read(from *bufio.Reader) *answer {
	i.t.Helper()
	response, err := http.ReadResponse(from, nil)
	require.NoError(i.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(i.t, err)
	return &answer{response, string(body)}
}

// journal is a log that can be read while it is written.
type journal struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.String()
}

// forget drops what was written so far.
func (j *journal) forget() {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.text = bytes.Buffer{}
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// unwatched is a backend that cannot tell of changes, so that only the age of
// what is cached makes a revocation hold.
// hear returns when the server has heard of all changes so far, which would else take
// keys out of its cache later. It must have a cache, and hears of changes in order.
func (i *instance) hear() {
	i.t.Helper()
	token, id := i.generate("a")
	require.Equal(i.t, 200, i.get("/verify", token).StatusCode)
	_, err := i.keys.Revoke(i.t.Context(), id, "")
	require.NoError(i.t, err)
	require.Eventually(i.t, func() bool { return i.get("/verify", token).StatusCode == 401 }, patience, time.Millisecond)
}

type unwatched struct{ backend.Backend }

// serveOnUnwatched starts a server that hears of no change.
func serveOnUnwatched(t *testing.T, ttl time.Duration) *instance {
	t.Helper()
	store := new(memory.Store)
	return serveOn(t, unwatched{store.Open()}, store.Open(), &keystore.Options{CacheTTL: ttl}, Config{})
}
