package server

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// idle closes connections that have been without a request for a while. The
// IdleTimeout of http.Server would do so, but starts its timer once more when a
// connection of HTTP/2 has ended, and so keeps all that is left of it in memory as
// long: 2 MB, where streams were opened and reset fast (seen with Go 1.26).
type idle struct {
	after  time.Duration
	timers sync.Map // of net.Conn: *time.Timer
}

// connState is for http.Server.ConnState.
func (i *idle) connState(c net.Conn, state http.ConnState) {
	timer, known := i.timers.Load(c)
	switch {
	case state == http.StateIdle && known:
		timer.(*time.Timer).Reset(i.after)
	case state == http.StateIdle:
		i.timers.Store(c, time.AfterFunc(i.after, func() { _ = c.Close() }))
	case known:
		timer.(*time.Timer).Stop()
		if state == http.StateClosed || state == http.StateHijacked {
			i.timers.Delete(c)
		}
	}
}
