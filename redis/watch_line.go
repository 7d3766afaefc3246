package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// line is a subscription at one server, that is made anew as often as it fails.
type line struct {
	w      *watch
	client goredis.UniversalClient
	late   bool // Watch has returned already: there may be changes that it does not hear of

	mu    sync.Mutex
	probe string // that was published last and has not come back
}

// follow keeps the line until ctx ends or the client is closed. It tells once what
// came of the first attempt to subscribe, and goes on also if that failed.
func (l *line) follow(ctx context.Context, ready chan<- error) {
	s, err := l.subscribe(ctx)
	if ready <- err; err == nil && l.late {
		l.w.missed()
	}
	told := time.Now() // that changes may be missed, or that there is no subscription
	for try := 0; ctx.Err() == nil && !closedForGood(err); try++ {
		switch {
		case err == nil:
			l.guard(ctx, s)
			s.close()
			l.w.missed()
			told, try = time.Now(), 0
		case !l.pause(ctx, try):
			return
		case time.Since(told) >= l.w.b.options.ProbeInterval:
			l.w.missed()
			told = time.Now()
		}
		if s, err = l.subscribe(ctx); err == nil {
			l.w.missed()
		}
	}
	if err == nil {
		s.close()
	}
}

func (l *line) pause(ctx context.Context, try int) bool {
	select {
	case <-time.After(min(10*time.Millisecond<<min(try, 10), l.w.b.options.ProbeInterval)):
		return true
	case <-ctx.Done():
		return false
	}
}

// subscription is a connection on which the server sends what is published.
type subscription struct {
	pubsub    *goredis.PubSub
	end       context.CancelFunc // of what go-redis does to repair it
	confirmed chan struct{}      // closed when it is in force
	lost      chan struct{}      // closed when it is not any more, or never will be
	err       error              // why; set before lost is closed
}

func (s *subscription) close() {
	s.end()
	_ = s.pubsub.Close()
	<-s.lost
}

// subscribe returns a subscription that is in force. It waits for that as long as
// for a probe, or a second.
func (l *line) subscribe(ctx context.Context) (*subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, max(l.w.b.options.ProbeInterval, time.Second))
	defer cancel()
	s := &subscription{
		pubsub:    l.client.Subscribe(ctx, l.w.b.names.channel), // an error comes with the first Receive
		confirmed: make(chan struct{}),
		lost:      make(chan struct{}),
	}
	var alive context.Context
	alive, s.end = context.WithCancel(context.Background())
	go l.receive(alive, s)
	select {
	case <-s.confirmed:
		return s, nil
	case <-s.lost:
		s.close()
		return nil, failed(s.err)
	case <-ctx.Done():
		s.close()
		return nil, contextError(ctx)
	}
}

// receive reads until the subscription fails or is closed. It never waits for the
// reader of the watch. go-redis would subscribe again by itself, and lose messages
// meanwhile: that is taken for a failure as well.
func (l *line) receive(alive context.Context, s *subscription) {
	defer close(s.lost)
	for {
		// Without a deadline: one that passes amid a message would lose its beginning.
		message, err := s.pubsub.Receive(alive)
		if err != nil {
			s.err = err
			return
		}
		switch m := message.(type) {
		case *goredis.Subscription:
			select {
			case <-s.confirmed:
				return
			default:
				close(s.confirmed)
			}
		case *goredis.Message:
			l.hear(m.Payload)
		}
	}
}

// probeMark begins what is published to see whether it arrives. No id begins so.
const probeMark = "?"

func (l *line) hear(payload string) {
	id, ok := parseMessage(payload)
	switch {
	case ok:
		if l.w.recent == nil || l.w.recent.first(payload) {
			l.w.hub.Notify(id)
		}
	case strings.HasPrefix(payload, probeMark):
		l.mu.Lock()
		defer l.mu.Unlock()
		if payload == l.probe {
			l.probe = ""
		}
	default: // of a later version, perhaps
		l.w.missed()
	}
}

// guard returns when the subscription is lost or not to be trusted any more.
//
// In every interval it publishes a probe, the way changes are, and asks whether the
// server still is the master that it was. A probe that has not come back one
// interval later says that messages get lost: the connection is silent, or the
// subscription is at a server that the changes do not reach. Another replication
// id says that the data is another one's: after a failover changes may be undone,
// and their messages may have gone to nobody.
func (l *line) guard(ctx context.Context, s *subscription) {
	ticker := time.NewTicker(l.w.b.options.ProbeInterval)
	defer ticker.Stop()
	master, known := "", false
	for {
		done := l.publish(ctx)
		select {
		case <-ticker.C:
		case <-s.lost:
			return
		case <-ctx.Done():
			return
		}
		var r round
		select {
		case r = <-done:
		default:
			l.w.missed()
			// One probe at a time: this one ends with its context, or with the timeouts of
			// the client.
			select {
			case r = <-done:
			case <-s.lost:
				return
			case <-ctx.Done():
				return
			}
		}
		switch {
		case r.err != nil:
			l.w.missed() // no use subscribing anew where nothing can be published
		case l.unheard(), known && r.master != master:
			return
		default:
			master, known = r.master, true
		}
	}
}

func (l *line) unheard() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.probe != ""
}

// round is what came of publishing a probe.
type round struct {
	master string // the replication id, if the server tells
	err    error
}

// publish publishes a probe, in the background.
func (l *line) publish(ctx context.Context) <-chan round {
	payload := probeMark + rand.Text()
	l.mu.Lock()
	l.probe = payload // before it can come back
	l.mu.Unlock()
	done := make(chan round, 1)
	l.w.b.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, l.w.b.options.ProbeInterval)
		defer cancel()
		pipe := l.client.Pipeline()
		published := pipe.Publish(ctx, l.w.b.names.channel, payload)
		info := pipe.Info(ctx, "replication")
		_ = execute(ctx, pipe) // each command has its error
		fields := infoFields(info.Val())
		r := round{fields["master_replid"], published.Err()}
		if role := fields["role"]; r.err == nil && role != "" && role != "master" {
			r.err = fmt.Errorf("redis: the server is a %s", role)
		}
		done <- r
	})
	return done
}

// closedForGood reports whether nothing will ever be sent again.
func closedForGood(err error) bool { return errors.Is(err, goredis.ErrClosed) }
