package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Redis is a redis-server process of one test: a standalone server, a replica, a
// node of a cluster or a sentinel. Its methods are for the goroutine of the test,
// except for Addr, URL and Client.
type Redis struct {
	tb      testing.TB
	program string
	dir     string   // its data, its log and its redis.conf
	config  []string // lines of redis.conf besides the port
	args    []string // of the program, after the file
	log     *os.File
	port    int
	process *process      // nil: not running
	client  *redis.Client // nil: never started
	tls     *TLS          // nil: without
}

// common are lines of redis.conf. What was acknowledged is in the append-only file,
// so that a server that is killed and started again has it. That the system writes it
// to the disk is of no use here; with everysec, Redis's default, the server itself
// holds it back for up to 2 s while the disk is busy, and a kill loses it. A replica
// is brought into sync at once and not after 5 s; without a disk it would get no
// changes in the first second after that, though both sides say that they are linked.
var common = []string{"appendonly yes", "appendfsync no", `save ""`, "repl-diskless-sync no"}

// StartRedis starts a server of the test's own. config are further lines of
// redis.conf, such as "maxmemory 10mb". Acknowledged changes survive [Redis.Kill]
// followed by [Redis.Start].
func StartRedis(tb testing.TB, config ...string) *Redis {
	tb.Helper()
	r := newRedis(tb, nil, slices.Concat(common, config))
	r.Start()
	return r
}

// newRedis prepares a server that Start starts, and its end with the test. It speaks
// TLS if there are files for that.
func newRedis(tb testing.TB, files *TLS, config []string, args ...string) *Redis {
	tb.Helper()
	r := &Redis{tb: tb, program: redisServer(tb), dir: tb.TempDir(), config: config, args: args, tls: files}
	r.log = openLog(tb, r.dir)
	tb.Cleanup(func() {
		if r.process != nil {
			r.process.kill()
		}
		showLog(tb, "redis-server "+r.Addr(), r.log)
		_ = r.log.Close()
	})
	return r
}

func redisServer(tb testing.TB) string {
	tb.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		Missing(tb, "redis", "there is no redis-server in PATH (Debian: apt-get install redis-server; macOS: brew install redis)")
	}
	return program
}

// openLog opens a file for the output of a server and for reading it.
func openLog(tb testing.TB, dir string) *os.File {
	tb.Helper()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	return log
}

// Addr is the server's host:port. It stays the same from start to start.
func (r *Redis) Addr() string { return address(r.port) }

// URL opens the server's database 0.
func (r *Redis) URL() string { return r.scheme() + "://" + r.Addr() + "/0" }

func (r *Redis) scheme() string {
	if r.tls != nil {
		return "rediss"
	}
	return "redis"
}

// Client is a client of the test's own, to look behind the back of the code under
// test. It retries nothing. It is closed with the test.
func (r *Redis) Client() *redis.Client { return r.client }

// Start starts the server and returns when it answers. After Stop and Kill it has
// the same port, the same data and the same configuration file as before.
func (r *Redis) Start() {
	r.tb.Helper()
	switch {
	case r.process != nil:
		r.tb.Fatal("the server runs already")
	case r.client != nil:
		if err := r.launch(); err != nil {
			r.tb.Fatalf("starting redis-server again: %v\n%s", err, tail(r.log))
		}
	default:
		r.startFirst()
	}
}

// startFirst looks for a port and starts the server there.
func (r *Redis) startFirst() {
	r.tb.Helper()
	var err error
	for range 10 {
		if r.port, err = freePort(); err != nil {
			break
		}
		if err = r.writeConfig(); err != nil {
			break
		}
		r.client = r.newClient()
		err = r.launch()
		if err == nil {
			r.tb.Cleanup(func() { _ = r.client.Close() })
			return
		}
		_ = r.client.Close()
		if !errors.Is(err, errTaken) {
			break
		}
	}
	if r.tls != nil && strings.Contains(tail(r.log), "tls-") {
		Missing(r.tb, "redis", "redis-server was built without TLS")
	}
	r.tb.Fatalf("starting redis-server: %v\n%s", err, tail(r.log))
}

// writeConfig writes redis.conf. The last of two lines for the same thing counts.
func (r *Redis) writeConfig() error {
	lines := []string{"bind 127.0.0.1", fmt.Sprintf("port %d", r.port)}
	if r.tls != nil {
		lines = []string{"bind 127.0.0.1", "port 0", fmt.Sprintf("tls-port %d", r.port)}
	}
	lines = append(lines, r.config...)
	return os.WriteFile(r.configFile(), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (r *Redis) configFile() string { return filepath.Join(r.dir, "redis.conf") }

// launch starts the process and returns when it answers.
func (r *Redis) launch() error {
	p, err := startProcess(r.log, r.dir, r.program, append([]string{r.configFile()}, r.args...)...)
	if err != nil {
		return err
	}
	if err := answers(r.client, p, r.log); err != nil {
		p.kill()
		return err
	}
	r.process = p
	return nil
}

// Stop ends the server with SIGTERM and waits until it is gone.
func (r *Redis) Stop() {
	r.tb.Helper()
	r.running().stop()
	r.ended()
}

// Kill ends the server with SIGKILL and waits until it is gone.
func (r *Redis) Kill() {
	r.tb.Helper()
	r.running().kill()
	r.ended()
}

// ended has the client let go of connections to a server that is gone, since it
// would report a dead one as an error to whoever uses it first.
func (r *Redis) ended() {
	r.process = nil
	for range r.client.Options().PoolSize {
		if r.client.PoolStats().IdleConns == 0 {
			return
		}
		_ = r.client.Ping(context.Background()).Err()
	}
}

// Pause stops the server with SIGSTOP: connections stay, and nothing answers. It
// skips the test on a system that has no such thing.
func (r *Redis) Pause() {
	r.tb.Helper()
	r.running().pause(r.tb)
}

// Resume lets a paused server go on.
func (r *Redis) Resume() {
	r.tb.Helper()
	r.running().resume(r.tb)
}

// Running reports whether the server is started, paused or not.
func (r *Redis) Running() bool { return r.process != nil }

func (r *Redis) running() *process {
	r.tb.Helper()
	if r.process == nil {
		r.tb.Fatal("the server does not run")
	}
	return r.process
}
