//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/audit"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
)

// gated opens the Badger folder of the path; reads wait until the file exists that
// the parameter gate names.
func init() {
	backend.Register("gated", func(ctx context.Context, rawURL string, o *backend.OpenOptions) (backend.Backend, error) {
		u, err := url.Parse(rawURL)
		if err != nil {
			return nil, err
		}
		inner, err := backend.Open(ctx, "badger://"+u.Path+"?sync=0", o)
		if err != nil {
			return nil, err
		}
		wait := func(ctx context.Context, do faulty.Do) error {
			fmt.Fprintln(os.Stderr, `{"msg":"waiting"}`)
			for ctx.Err() == nil {
				if _, err := os.Stat(u.Query().Get("gate")); err == nil {
					return do(ctx)
				}
				time.Sleep(time.Millisecond) // between looks at the file
			}
			return ctx.Err()
		}
		return faulty.New(inner, faulty.Only(wait, faulty.Get)), nil
	})
}

// serving is a process of keystore serve.
type serving struct {
	t    *testing.T
	cmd  *exec.Cmd
	api  string // host:port
	mu   sync.Mutex
	log  []string      // its lines
	more chan struct{} // has one after each line
	done chan struct{} // closed when it has ended
}

// startServe starts a server and returns when it listens.
func startServe(t *testing.T, storeURL string, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, more: make(chan struct{}, 1), done: make(chan struct{})}
	s.cmd = exec.Command("keystore", append([]string{"serve", "--listen", "127.0.0.1:0", "--log-format", "json"}, args...)...)
	s.cmd.Env = append(os.Environ(), "KEYSTORE_URL="+storeURL, "GORACE=atexit_sleep_ms=0")
	errOut, err := s.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
		if t.Failed() {
			t.Log(strings.Join(s.lines(), "\n"))
		}
	})
	go func() {
		defer close(s.done)
		from := bufio.NewScanner(errOut)
		for from.Scan() {
			s.mu.Lock()
			s.log = append(s.log, from.Text())
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
		}
		_ = s.cmd.Wait()
	}()
	s.api = s.await(`"for":"api","address":"([^"]+)"`)[1]
	return s
}

func (s *serving) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.log...)
}

// await returns the match of the first line that matches.
func (s *serving) await(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(time.Minute)
	for {
		for _, line := range s.lines() {
			if found := re.FindStringSubmatch(line); found != nil {
				return found
			}
		}
		select {
		case <-s.more:
		case <-s.done:
			require.Fail(s.t, "the server has ended", "%s: %q", pattern, s.lines())
		case <-late:
			require.Fail(s.t, "it says nothing like it", "%s: %q", pattern, s.lines())
		}
	}
}

// end signals the server and returns its exit code.
func (s *serving) end(signal os.Signal) int {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(signal))
	<-s.done
	return s.cmd.ProcessState.ExitCode()
}

func (s *serving) ask(method, path, token, body string) (status int, text string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.api+path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(read)
}

func TestServeEndsGracefully(t *testing.T) {
	dir := t.TempDir()
	folder, gate := slashed(filepath.Join(dir, "store")), filepath.Join(dir, "gate")
	u := newTool(t, "badger://"+folder+"?sync=0")
	id, token := u.generate(t, "--scope", "a")
	s := startServe(t, "gated://"+folder+"?gate="+url.QueryEscape(gate), "--ops-listen", "127.0.0.1:0", "--timeout", "1m", "--shutdown-timeout", "1m")
	ops := s.await(`"for":"ops","address":"([^"]+)"`)[1]
	result := make(chan string, 1)
	go func() {
		r, _ := http.NewRequest(http.MethodGet, "http://"+s.api+"/verify?scope=a", nil)
		r.Header.Set("X-Api-Key", token)
		r.Close = true
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			result <- err.Error()
			return
		}
		defer response.Body.Close()
		result <- response.Status
	}()
	s.await(`"msg":"waiting"`)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.await(`"msg":"shutting down"`)
	response, err := http.Get("http://" + ops + "/readyz")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 503, response.StatusCode)
	http.DefaultClient.CloseIdleConnections()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", s.api)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, time.Minute, time.Millisecond)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	require.Equal(t, "200 OK", <-result)
	<-s.done
	require.Zero(t, s.cmd.ProcessState.ExitCode())
	used, err := jsonAt(u.must(t, "get", id, "--json"), "last_used_at")
	require.NoError(t, err)
	require.NotEqual(t, "null", used, "the use was written at the end")
}

// All that a server writes are lines of JSON without a token, its audit log has
// what was done, and its settings may come from the environment.
func TestServeWritesNoToken(t *testing.T) {
	dir := t.TempDir()
	trail := filepath.Join(dir, "audit.jsonl")
	t.Setenv("KEYSTORE_AUDIT_LOG", trail)
	t.Setenv("KEYSTORE_LOG_LEVEL", "debug")
	t.Setenv("KEYSTORE_TRUSTED_PROXY", "10.0.0.0/8,127.0.0.1/32")
	store := "badger://" + slashed(filepath.Join(dir, "store")) + "?sync=0"
	admin, token := newTool(t, store).generate(t, "--admin")
	s := startServe(t, store)
	status, made := s.ask("POST", "/v1/keys", token, `{"owner":"bob","scopes":["a"]}`)
	require.Equal(t, 201, status, made)
	second, err := jsonAt(made, "token")
	require.NoError(t, err)
	status, _ = s.ask("GET", "/verify?scope=a&x="+second, second, "")
	require.Equal(t, 400, status)
	status, _ = s.ask("GET", "/verify?scope=a", second, "")
	require.Equal(t, 200, status)
	status, _ = s.ask("GET", "/verify?scope=b", second, "")
	require.Equal(t, 403, status)
	_, metrics := s.ask("GET", "/metrics", "", "")
	require.Contains(t, metrics, `keystore_lookups_total{reason="missing_scope"} 1`)
	require.Zero(t, s.end(syscall.SIGINT))

	everything := strings.Join(s.lines(), "\n") + metrics
	for _, line := range s.lines() {
		require.True(t, json.Valid([]byte(line)), line)
	}
	require.Contains(t, everything, `"route":"/v1/keys","method":"POST","status":201`)
	written, err := os.ReadFile(trail)
	require.NoError(t, err)
	for _, secret := range []string{token[len("ks_")+16:], second[len("ks_")+16:]} {
		require.NotContains(t, everything+string(written), secret)
	}
	events := map[string]keystore.Event{}
	for e, err := range audit.Read(strings.NewReader(string(written))) {
		require.NoError(t, err)
		events[string(e.Action)] = e
	}
	require.Equal(t, "bob", events["generate"].Owner)
	require.Equal(t, admin, events["generate"].Actor)
	require.Equal(t, keystore.ReasonMissingScope, events["lookup"].Reason)
}

func TestServeIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "serve.md"))
	require.NoError(t, err)
	(&app{}).serve().Flags().VisitAll(func(f *pflag.Flag) {
		require.Contains(t, string(page), "| `--"+f.Name)
	})
	for _, file := range []string{"keystore.env", "Dockerfile"} { // a variable that is none would be passed over
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", file))
		require.NoError(t, err)
		for _, name := range regexp.MustCompile(`KEYSTORE_([A-Z_]+)=`).FindAllStringSubmatch(string(text), -1) {
			flag := strings.ToLower(strings.ReplaceAll(name[1], "_", "-"))
			known := (&app{}).serve().Flags().Lookup(flag) != nil || (&app{}).root().PersistentFlags().Lookup(flag) != nil
			require.True(t, flag == "url" || known, name[0])
		}
	}
}

// TestServeManyConnections opens as many as a server takes by default.
func TestServeManyConnections(t *testing.T) {
	if os.Getenv("KEYSTORE_TEST_LONG") != "1" {
		t.Skip("KEYSTORE_TEST_LONG=1 opens 10 000 connections; internal/server has a test with 300")
	}
	const limit = 10_000
	var files syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)) // which Go raises as far as it may
	if files.Cur < limit+200 {
		t.Skipf("the test needs %d open files, and may have %d: raise the hard limit with ulimit -Hn", limit+200, files.Cur)
	}
	store := "badger://" + slashed(filepath.Join(t.TempDir(), "store")) + "?sync=0"
	_, token := newTool(t, store).generate(t, "--scope", "a")
	s := startServe(t, store, "--ops-listen", "127.0.0.1:0")
	ops := s.await(`"for":"ops","address":"([^"]+)"`)[1]
	resident := func() float64 {
		response, err := http.Get("http://" + ops + "/metrics")
		require.NoError(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		found := regexp.MustCompile(`(?m)^process_resident_memory_bytes (.*)$`).FindStringSubmatch(string(text))
		if found == nil {
			t.Skip("the system does not tell the memory of a process")
		}
		bytes, err := strconv.ParseFloat(found[1], 64)
		require.NoError(t, err)
		return bytes
	}
	request := "GET /verify?scope=a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	verify := func(conn net.Conn) error {
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		response, err := http.ReadResponse(bufio.NewReaderSize(conn, 1024), nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != 200 {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	}
	before := resident()
	conns := make([]net.Conn, limit)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	for i := range conns {
		conn, err := net.Dial("tcp", s.api)
		require.NoError(t, err)
		conns[i] = conn
		require.NoError(t, verify(conn), "connection %d", i)
	}
	per := (resident() - before) / limit
	t.Logf("%d connections, %.0f bytes of resident memory each", limit, per)
	require.Less(t, per, float64(64<<10))
	late, err := net.Dial("tcp", s.api)
	require.NoError(t, err)
	defer late.Close()
	answered := make(chan error, 1)
	go func() { answered <- verify(late) }()
	for _, conn := range conns[:1000] {
		require.NoError(t, verify(conn))
	}
	select {
	case <-answered:
		t.Fatal("there are more connections than the limit says")
	default:
	}
	require.NoError(t, conns[0].Close())
	require.NoError(t, <-answered)
	require.Zero(t, s.end(syscall.SIGTERM))
}
