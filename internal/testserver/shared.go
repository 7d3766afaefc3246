package testserver

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// shared is the server of RedisURL. Nobody ends it: the guard of its process does
// when the test process is gone. Its folder is removed as soon as it runs, since
// it keeps nothing on disk.
var shared struct {
	sync.Mutex
	process *process
	log     *os.File
	url     string
}

// RedisURL is KEYSTORE_TEST_REDIS_URL, or the URL of a standalone server that all
// tests of this process share. Tests keep apart by namespace. The shared server
// has no append-only file.
func RedisURL(tb testing.TB) string {
	tb.Helper()
	if url := os.Getenv("KEYSTORE_TEST_REDIS_URL"); url != "" {
		return url
	}
	program := redisServer(tb)
	shared.Lock()
	defer shared.Unlock()
	for n := 0; shared.process == nil; n++ {
		if err := startShared(program); err != nil && (n == 10 || !errors.Is(err, errTaken)) {
			tb.Fatalf("starting redis-server: %v", err)
		}
	}
	tb.Cleanup(func() { showLog(tb, "the shared redis-server", shared.log) })
	return shared.url
}

func startShared(program string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "keystore-testserver-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p, err := startProcess(log, dir, program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no")
	if err != nil {
		return errors.Join(err, log.Close())
	}
	client := redis.NewClient(plainClient(address(port)))
	defer client.Close()
	if err := answers(client, p, log); err != nil {
		p.kill()
		return errors.Join(err, log.Close())
	}
	shared.process, shared.log, shared.url = p, log, "redis://"+address(port)+"/0"
	return nil
}
