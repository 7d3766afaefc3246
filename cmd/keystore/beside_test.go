package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

// besideServe is a folder that a process of keystore serve has open.
type besideServe struct {
	*tool          // beside it
	folder, socket string
	url            string // of its API
	process        *os.Process
	wait           func()
}

func newBesideServe(t *testing.T) *besideServe {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("skipped: serve has a socket on Unix only")
	}
	folder := filepath.Join(t.TempDir(), "store")
	s := &besideServe{tool: newTool(t, "badger://"+slashed(folder)+"?sync=0"), folder: folder, socket: filepath.Join(folder, "keystore.sock")}
	s.must(t, "generate", "--owner", "first") // which makes the store
	s.start(t)
	return s
}

// start starts the server and waits until it listens.
func (s *besideServe) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Args = []string{"keystore", "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--cache-ttl", "1h"}
	cmd.Env = append(os.Environ(), "KEYSTORE_URL="+s.env["KEYSTORE_URL"], "GORACE=atexit_sleep_ms=0")
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	s.process, s.wait = cmd.Process, sync.OnceFunc(func() { _ = cmd.Wait() })
	t.Cleanup(func() { s.end(syscall.SIGKILL) })
	lines := bufio.NewScanner(log)
	for s.url = ""; s.url == ""; {
		require.True(t, lines.Scan(), "the server has ended")
		var line struct{ Msg, Address string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		if line.Msg == "listening" {
			s.url = "http://" + line.Address
		}
	}
	go func() { // so that it can go on writing
		for lines.Scan() {
		}
	}()
}

func (s *besideServe) end(signal syscall.Signal) {
	_ = s.process.Signal(signal)
	s.wait()
}

// verify returns the status with which the server answers for a token.
func (s *besideServe) verify(t *testing.T, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/verify", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// TestEveryCommandBesideServe runs the same commands on a folder of their own and
// beside a server: output and exit codes are the same.
func TestEveryCommandBesideServe(t *testing.T) {
	served := newBesideServe(t)
	alone := newTool(t, "badger://"+slashed(filepath.Join(t.TempDir(), "store"))+"?sync=0")
	alone.must(t, "generate", "--owner", "first")
	want, got := commandsBeside(t, alone), commandsBeside(t, served.tool)
	require.Equal(t, want, got)
	for _, code := range []int{0, 2, 3, 4, 5, 7, 8, 11} {
		require.Contains(t, got, fmt.Sprintf("exit %d", code), "the commands above are meant to show it")
	}
	served.end(syscall.SIGTERM)
	require.NoFileExists(t, served.socket)
	require.Equal(t, strings.Count(alone.must(t, "list"), "\n"), strings.Count(served.must(t, "list"), "\n"), "they worked on that store")
}

// commandsBeside runs commands and returns what they printed, but for what differs
// from run to run.
func commandsBeside(t *testing.T, u *tool) string {
	dir := t.TempDir()
	var all strings.Builder
	do := func(args ...string) result {
		r := u.run(args...)
		fmt.Fprintf(&all, "%s\nexit %d\n%s%s\n", strings.Join(args, " "), r.code, r.out, r.errOut)
		return r
	}
	id, token := u.generate(t, "--scope", "orders:*", "--name", "ci", "--metadata", "team=web")
	u.stdin = token
	do("generate", "--owner", "bob", "--ttl", "90d")
	do("lookup")
	do("lookup", "--scope", "orders:read", "--json")
	do("lookup", "--scope", "carts:read")
	do("get", id)
	do("get", id, "--json")
	do("get", "0000000000000000")
	do("get", "\xff")
	do("list")
	do("list", "--owner", "alice", "--json")
	do("update", id, "--name", "cd", "--scope", "orders:read")
	do("update", id, "--if-revision", "1", "--name", "x")
	do("expire", id, "--in", "1h")
	do("rotate", id, "--grace", "1h")
	do("end-grace", id)
	do("disable", id)
	do("lookup")
	do("enable", id)
	do("revoke", id, "--reason", "leaked")
	do("update", id, "--name", "late")
	do("lookup")
	do("revoke", "--owner", "bob")
	do("delete", id)
	do("delete", id)
	limitsBeside(t, u, do)
	do("purge")
	do("digests")
	do("copy", u.env["KEYSTORE_URL"], "memory://")
	do("copy", u.env["KEYSTORE_URL"], u.env["KEYSTORE_URL"]+"&create=1")
	do("backup", filepath.Join(dir, "keys.backup"))
	restored := newTool(t, "badger://"+slashed(filepath.Join(dir, "restored"))+"?sync=0")
	restored.must(t, "restore", filepath.Join(dir, "keys.backup"))
	fmt.Fprintln(&all, strings.Count(restored.must(t, "list"), "\n"))

	text := strings.ReplaceAll(all.String(), dir, "(dir)")
	text = strings.ReplaceAll(text, u.env["KEYSTORE_URL"], "(store)")
	text = regexp.MustCompile(`try again in [0-9hms]+|--plans \S+\.json`).ReplaceAllString(text, "(wait or file)")
	text = regexp.MustCompile(`ks_[0-9A-Za-z]{54}`).ReplaceAllString(text, "(token)")
	text = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+Z`).ReplaceAllString(text, "(time)")
	return regexp.MustCompile(`\b0[0-9A-Za-z]{15}\b`).ReplaceAllString(text, "(id)")
}

// limitsBeside runs the commands that are about limits and usage. The windows are
// so long that none ends meanwhile.
func limitsBeside(t *testing.T, u *tool, do func(args ...string) result) {
	u.env["KEYSTORE_PLANS"] = plansFile(t, `{"free": ["year 3/366d"]}`)
	id, token := u.generate(t, "--plan", "free", "--limit", "long 100/366d")
	u.stdin = token
	do("plans")
	do("generate", "--owner", "carol", "--plan", "unknown")
	do("lookup", "--cost", "2", "--json")
	do("lookup", "--peek")
	do("lookup")
	do("lookup")
	do("limits", id)
	do("limits", id, "--reset", "--json")
	do("lookup", "--cost", "4")
	do("lookup", "--plans", plansFile(t, `{}`))
	do("update", id, "--limit", "long 5/366d", "--no-plan")
	do("limits", id, "--json")
	do("usage", id)
	do("usage", "--owner", "alice", "--by", "hour", "--csv")
	do("usage", "0000000000000000")
	do("delete", id)
	do("limits", id)
}

// TestUsageAndLimitsBesideServe: what the server lets pass is spent and counted
// for the tool, and what the tool resets passes at the server.
func TestUsageAndLimitsBesideServe(t *testing.T) {
	s := newBesideServe(t)
	id, token := s.generate(t, "--limit", "year 3/366d")
	for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		require.Equal(t, want, s.verify(t, token))
	}
	s.stdin = token
	require.Equal(t, int(statusRateLimited), s.run("lookup").code)
	s.must(t, "limits", id, "--reset")
	s.must(t, "lookup", "--cost", "2")
	require.Equal(t, http.StatusOK, s.verify(t, token))
	require.Equal(t, http.StatusTooManyRequests, s.verify(t, token))
	s.end(syscall.SIGTERM) // which counts what is not counted yet
	usage := s.must(t, "usage", id, "--json")
	var sum keystore.Usage
	for line := range strings.Lines(usage) { // two of them at midnight
		var u keystore.Usage
		require.NoError(t, json.Unmarshal([]byte(line), &u))
		sum = sum.Add(u)
	}
	sum.Start = time.Time{}
	require.Equal(t, keystore.Usage{Allowed: 4, Limited: 2, Cost: 4}, sum)
	require.Equal(t, usage, s.must(t, "usage", "--owner", "alice", "--json"))
}

// TestRevocationBesideServeHoldsAtOnce: when revoke has returned, the server
// refuses the key, which it has in its cache for an hour.
func TestRevocationBesideServeHoldsAtOnce(t *testing.T) {
	s := newBesideServe(t)
	for range 20 {
		id, token := s.generate(t)
		require.Equal(t, http.StatusOK, s.verify(t, token))
		s.must(t, "revoke", id)
		require.Equal(t, http.StatusUnauthorized, s.verify(t, token))
	}
}

func TestRestoreBesideServe(t *testing.T) {
	s := newBesideServe(t)
	backup := filepath.Join(t.TempDir(), "keys.backup")
	s.must(t, "backup", backup)
	for _, url := range []string{s.env["KEYSTORE_URL"], socket.URL(s.socket)} {
		r := s.run("restore", backup, "--store", url)
		require.Equal(t, int(statusUnavailable), r.code)
		require.Contains(t, r.errOut, "a restore needs the folder for itself")
	}
	s.end(syscall.SIGKILL)
	require.FileExists(t, s.socket, "what a killed server leaves")
	r := s.run("list")
	require.Zero(t, r.code, "it is not in the way: %s", r.errOut)
	r = s.run("list", "--store", socket.URL(s.socket))
	require.Equal(t, int(statusUnavailable), r.code)
	require.Contains(t, r.errOut, "no server is there")

	fresh := filepath.Join(t.TempDir(), "fresh") // a folder with nothing but a socket is as good as none
	require.NoError(t, os.Mkdir(fresh, 0o700))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(fresh, "keystore.sock"), Net: "unix"})
	if err == nil { // else the path is too long here
		l.SetUnlinkOnClose(false)
		require.NoError(t, l.Close())
	}
	s.must(t, "restore", backup, "--store", "badger://"+slashed(fresh)+"?sync=0")
	s.start(t) // over the socket that was left
	s.must(t, "list")
}

// TestStoreBySocketItself names the socket instead of the folder.
func TestStoreBySocketItself(t *testing.T) {
	s := newBesideServe(t)
	id, token := s.generate(t, "--store", socket.URL(s.socket))
	require.Equal(t, http.StatusOK, s.verify(t, token))
	require.Equal(t, s.must(t, "get", id), s.must(t, "get", id, "--store", socket.URL(s.socket)))
	r := s.run("copy", socket.URL(s.socket), s.env["KEYSTORE_URL"])
	require.Equal(t, int(statusUsage), r.code)
	require.Contains(t, r.errOut, "FROM and TO are the same store")
	r = s.run("serve")
	require.Equal(t, int(statusUnavailable), r.code)
	require.Contains(t, r.errOut, "the folder is open in another process")
}

// TestFolderHeldByAnotherProgram has no socket, or one that is of no use.
func TestFolderHeldByAnotherProgram(t *testing.T) {
	folder := t.TempDir()
	b, err := badger.Open(folder, nil)
	require.NoError(t, err)
	defer b.Close()
	u := newTool(t, "badger://"+slashed(folder))
	locked := func() {
		t.Helper()
		for _, args := range [][]string{{"list"}, {"backup", filepath.Join(t.TempDir(), "x")}, {"generate", "--owner", "o"}} {
			r := u.run(args...)
			require.Equal(t, int(statusUnavailable), r.code)
			require.Contains(t, r.errOut, "the folder is open in another process")
			require.Contains(t, r.errOut, "Beside 'keystore serve' every command works")
		}
	}
	locked()
	path := filepath.Join(folder, "keystore.sock")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	locked()
	require.NoError(t, os.Remove(path))

	if runtime.GOOS == "windows" {
		return
	}
	l, err := socket.Listen(path) // of a program that speaks something else
	require.NoError(t, err)
	other := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = other.Serve(l) }()
	t.Cleanup(func() { other.Close() })
	r := u.run("list")
	require.Equal(t, int(statusUnavailable), r.code)
	require.Contains(t, r.errOut, "the server answered with status 404")
	require.NotContains(t, r.errOut, folder)
}

// TestServerEndsBesideACommand, after it has said that it is there. The call that
// is refused has had no effect.
func TestServerEndsBesideACommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: serve has a socket on Unix only")
	}
	for _, args := range [][]string{{"generate", "--owner", "o"}, {"list"}, {"revoke", "0000000000000000"}, {"purge"}} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := socket.Listen(path)
		require.NoError(t, err)
		store := memory.New()
		h := socket.Handler(store, nil)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			_ = l.Close()
		})}
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(l) }()
		r := newTool(t, socket.URL(path)).run(args...)
		require.Equal(t, int(statusUnavailable), r.code, "%v: %s", args, r.errOut)
		require.Empty(t, r.out)
		require.NoError(t, server.Close())
		<-done
		page, err := store.List(context.Background(), backend.ListOptions{Limit: 1})
		require.NoError(t, err)
		require.Empty(t, page)
	}
}
