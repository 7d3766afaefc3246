package socket_test

import (
	"bytes"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/socket"
)

// FuzzReply has a server answer with bytes that may be anything.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		"", "\x82\xf6\xf4", "\x82\xf6\x86\x61x\x61o\x41d\x00\x00\x01", "\x82\xf6\x81\x86\x61x\x61o\x41d\x00\x00\x01", "\x82\xf6\x07",
		"\x82\x82\x64text\x81\x69not_found\xf4", "\x82\x82\x64text\xf6\xf4", "\x82\xf6\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\x82\xf6\xf4\x61x\x60\x01",
		"\x83\x43abc\xf4\xf6\x83\x40\xf5\xf6", "\x83\x40\xf4\x82\x61x\x80",
	} {
		f.Add([]byte(seed))
	}
	hello := []byte("\xa6\x01\x01\x02\x61a\x03\xf5\x04\xf5\x05\xf5\x06\xf5")
	var body atomic.Value
	path, _ := serveHandler(f, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hello" {
			_, _ = w.Write(hello)
			return
		}
		_, _ = w.Write(body.Load().([]byte))
	}))
	b := open(f, path)
	f.Fuzz(func(t *testing.T, answer []byte) {
		body.Store(answer)
		_, getting := b.Get(t.Context(), "x")
		_, listing := b.List(t.Context(), backend.ListOptions{Limit: 1})
		_, purging := b.Purge(t.Context(), time.Now(), 1)
		var out bytes.Buffer
		backing := b.(backupper).Backup(&out)
		_, spending := b.(counter).Spend(t.Context(), spendOf(1, 1))
		_, counting := b.(counter).Counts(t.Context(), "x", spendOf(1, 1).Windows)
		_, reading := b.(counter).Usage(t.Context(), "kx", midnight, midnight)
		for _, err := range []error{b.Delete(t.Context(), "x"), getting, listing, purging, backing, spending, counting, reading, b.(counter).AddUsage(t.Context(), nil)} {
			if errors.Is(err, backend.ErrClosed) || errors.Is(err, socket.ErrNoServer) {
				t.Fatal(err)
			}
		}
		changes, err := b.(backend.Watcher).Watch(t.Context())
		if err != nil {
			return
		}
		for range changes {
		}
	})
}
