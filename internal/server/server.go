// Package server is what keystore serve runs: an HTTP server that guards services
// in any language and manages the keys of a store. docs/serve.md describes it.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/httpauth"
	"example.com/keystore/internal/socket"
)

// Config says how to serve. Of a zero value only Listen must be set.
type Config struct {
	Listen    string // host:port, or unix:/path
	OpsListen string // host:port of /healthz, /readyz and /metrics, without TLS; "": they are on Listen

	CertFile, KeyFile string // PEM, read again when they change; "": no TLS
	SelfSigned        bool   // TLS with a certificate made at the start, for trying out
	Insecure          bool   // without TLS on an address that is not of this machine alone

	Socket string // file of a unix socket that serves the store to other processes of this machine: see internal/socket; "": none

	TrustedProxies  []netip.Prefix // whose X-Forwarded-For is believed
	MaxConnections  int            // at a time; default 10 000
	ShutdownTimeout time.Duration  // for requests under way at the end; default 10 s
	LogRequests     bool           // a line a request at level info instead of debug

	RateLimitFields       bool // RateLimit and RateLimit-Policy also where Verify lets a key pass
	LegacyRateLimitFields bool // X-RateLimit-* wherever these are

	Version string       // of the program, for /metrics
	Logger  *slog.Logger // with RedactAttr, so that no token is logged; default: discard

	timeouts  timeouts        // zero: those of docs/serve.md
	listening func(addresses) // told once, when everything listens
}

// addresses are what a server listens on, by the name of the endpoint.
type addresses map[string]net.Addr

// Run serves the store until ctx ends, and then ends gracefully: /readyz turns 503,
// nothing new is accepted, requests under way may end within ShutdownTimeout, and
// last-used times and usage are written. It returns nil then, or why it could not serve;
// keystore.ErrInvalid for a Config or Options that never can. b stays the caller's.
func Run(ctx context.Context, b backend.Backend, o *keystore.Options, c Config) error {
	c = c.withDefaults()
	s, err := newServer(b, o, c)
	if err != nil {
		return err
	}
	err = s.run(ctx)
	if closing := s.ks.Close(); closing != nil { // what was acknowledged is stored all the same
		c.Logger.Warn("not all was written at the end", "error", closing.Error())
	}
	return err
}

func (c Config) withDefaults() Config {
	if c.MaxConnections <= 0 {
		c.MaxConnections = 10_000
	}
	if c.ShutdownTimeout <= 0 {
		c.ShutdownTimeout = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.timeouts = c.timeouts.withDefaults()
	return c
}

type server struct {
	config  Config
	backend backend.Backend
	ks      *keystore.Keystore
	auth    *httpauth.Auth
	log     *slog.Logger
	ready   *readiness
	metrics *metrics
}

func newServer(b backend.Backend, o *keystore.Options, c Config) (*server, error) {
	var options keystore.Options
	if o != nil {
		options = *o
	}
	m := newMetrics(c.Version, options.Observer)
	options.Observer = m
	ks, err := keystore.New(b, &options)
	if err != nil {
		return nil, err
	}
	m.watch(ks)
	_, isUnix := c.unixPath() // who comes over it is on this machine: a proxy
	auth, err := httpauth.New(ks, &httpauth.Options{
		Realm: "keystore", TrustedProxies: c.TrustedProxies, TrustUnix: isUnix, Logger: c.Logger,
		RateLimitFields: c.RateLimitFields, LegacyRateLimitFields: c.LegacyRateLimitFields,
	})
	if err != nil {
		return nil, errors.Join(err, ks.Close())
	}
	return &server{config: c, backend: b, ks: ks, auth: auth, log: c.Logger, ready: newReadiness(ks), metrics: m}, nil
}

// run listens, serves until ctx ends or a listener fails, and ends.
func (s *server) run(ctx context.Context) error {
	endpoints, local, err := s.open()
	if err != nil {
		return err
	}
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var done sync.WaitGroup
	for _, e := range endpoints {
		done.Go(func() {
			if err := e.serve(); err != nil {
				fail(err)
			}
		})
	}
	if local != nil {
		done.Go(func() {
			if err := s.serveSocket(serving, local); err != nil {
				fail(err)
			}
		})
	}
	s.announce(endpoints, local)
	<-serving.Done()
	s.end(endpoints)
	done.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(serving)
}

// serveSocket lets other processes of this machine work on the store until ctx
// ends. What they have changed is read again before they hear that it is done, so
// that their revocations hold here at once.
func (s *server) serveSocket(ctx context.Context, l net.Listener) error {
	changed := func(ctx context.Context, id string) { _, _ = s.ks.Get(ctx, id) }
	if err := socket.Serve(ctx, l, socket.Handler(s.backend, changed), s.log); err != nil {
		return fmt.Errorf("serving the socket failed: %w", err)
	}
	return nil
}

func (s *server) announce(endpoints []*endpoint, local net.Listener) {
	at := make(addresses)
	for _, e := range endpoints {
		at[e.name] = e.listener.Addr()
		s.log.Info("listening", "for", e.name, "address", e.listener.Addr().String(), "tls", e.tls)
	}
	if local != nil {
		s.log.Info("listening", "for", "socket", "address", local.Addr().String())
	}
	if s.config.listening != nil {
		s.config.listening(at)
	}
}

// end lets requests under way end, those for the readiness last.
func (s *server) end(endpoints []*endpoint) {
	s.ready.shutDown()
	s.log.Info("shutting down", "timeout", s.config.ShutdownTimeout.String())
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout)
	defer cancel()
	for _, e := range endpoints {
		if err := e.http.Shutdown(ctx); err != nil {
			s.log.Warn("requests under way were cut off", "of", e.name, "error", err.Error())
			_ = e.http.Close()
		}
	}
}

// endpoint is a listener and what serves it.
type endpoint struct {
	name     string
	listener net.Listener
	http     *http.Server
	tls      bool
}

// serve returns nil when the endpoint was shut down.
func (e *endpoint) serve() error {
	var err error
	if e.tls {
		err = e.http.ServeTLS(e.listener, "", "")
	} else {
		err = e.http.Serve(e.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving %s failed: %w", e.name, err)
}
