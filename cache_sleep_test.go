package keystore

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// suspended is the clock of a machine that may sleep: then it runs ahead of the
// monotonic one.
type suspended struct{ slept atomic.Int64 }

func (c *suspended) now() time.Time        { return time.Now().Add(time.Duration(c.slept.Load())) }
func (c *suspended) sleep(d time.Duration) { c.slept.Add(int64(d)) }

// TestStaleIfUnavailableAfterASleep: it is an hour after the revocation, which ages
// by the monotonic clock do not tell.
func TestStaleIfUnavailableAfterASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &suspended{}
		s := newSharedStore(t)
		here := s.quiet(func(o *Options) { o.StaleIfUnavailable, o.Now = 10*time.Second, clock.now })
		there := s.quiet()
		token, id := here.generate()
		require.Equal(t, Reason(""), here.why(token))
		there.revoke(id)
		clock.sleep(time.Hour)
		here.on(func(context.Context, string) error { return errors.New("no route to host") }, nil)
		require.Equal(t, ReasonUnavailable, here.why(token))
	})
}

// TestAReadFromBeforeASleep decides no lookup from after it.
func TestAReadFromBeforeASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &suspended{}
		s := newSharedStore(t)
		here, there := s.quiet(func(o *Options) { o.Now = clock.now }), s.quiet()
		token, id := here.generate()
		here.on(nil, func(string) { time.Sleep(time.Second) })
		go here.Lookup(context.Background(), token)
		synctest.Wait() // its answer is on the way
		clock.sleep(time.Hour)
		there.revoke(id)
		clock.sleep(time.Hour)
		require.Equal(t, ReasonRevoked, here.why(token))
	})
}
