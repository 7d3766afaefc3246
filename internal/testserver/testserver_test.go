package testserver

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
)

// ending records how a test would have ended.
type ending struct {
	testing.TB
	how string
}

func (e *ending) Helper() {}

func (e *ending) Skip(args ...any) {
	e.how = "skip: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func (e *ending) Fatalf(format string, args ...any) {
	e.how = "fatal: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestMissing(t *testing.T) {
	for _, c := range []struct{ required, want string }{
		{"", "skip: no redis here"},
		{"mongo", "skip: no redis here"},
		{"mongo,redis", "fatal: KEYSTORE_TEST_REQUIRE has redis, but no redis here"},
	} {
		t.Setenv("KEYSTORE_TEST_REQUIRE", c.required)
		e := &ending{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Missing(e, "redis", "no redis here")
		}()
		<-done
		assert.Equal(t, c.want, e.how)
	}
}
