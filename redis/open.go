package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync/atomic"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"example.com/keystore/backend"
)

func init() {
	for scheme := range schemes {
		backend.Register(scheme, openURL)
	}
}

// openURL opens a store by URL; see the package documentation.
func openURL(ctx context.Context, rawURL string, o *backend.OpenOptions) (backend.Backend, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: redis: %w", backend.ErrInvalidURL, err)
	}
	opts, err := (&Options{Namespace: at.namespace, Logger: o.Logger}).withDefaults()
	if err != nil {
		return nil, err
	}
	security, err := at.tls.config(o.TLS)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	b := newBackend(at.client(security), true, opts)
	if o.TLS != nil && security == nil {
		b.log.Warn("the program has settings for TLS, and the scheme of the URL does without; it is rediss with it")
	}
	if err := b.greet(ctx); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// client makes the client, which connects when it is first used.
//
// ContextTimeoutEnabled lets what a caller does not wait for any more end with the
// caller's deadline. go-redis dials up to five times before it says that there is
// no server: once is enough where the driver or the caller tries again. The
// library's name and version (CLIENT SETINFO) and notices of maintenance (CLIENT
// MAINT_NOTIFICATIONS) are more commands at each connection, and routing policies
// are what go-redis asks a cluster for (COMMAND): a user would need permission for
// these, and nothing here needs them.
func (at *location) client(security *tls.Config) goredis.UniversalClient {
	off := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch {
	case at.cluster != nil:
		o := at.cluster
		o.ContextTimeoutEnabled, o.DisableIdentity, o.MaintNotificationsConfig, o.TLSConfig = true, true, off, security
		o.DialerRetries, o.DisableRoutingPolicies = 1, true
		return goredis.NewClusterClient(o)
	case at.sentinel != nil:
		o := at.sentinel
		o.ContextTimeoutEnabled, o.DisableIdentity, o.TLSConfig = true, true, security
		o.DialerRetries = 1
		return goredis.NewFailoverClient(o)
	default:
		o := at.single
		o.ContextTimeoutEnabled, o.DisableIdentity, o.MaintNotificationsConfig, o.TLSConfig = true, true, off, security
		o.DialerRetries = 1
		return goredis.NewClient(o)
	}
}

// greet makes sure that a server answers, and logs what Warnings finds. Of a cluster
// some masters may be down: the keys of the others can be served.
func (b *Backend) greet(ctx context.Context) error {
	_, err := read(ctx, b, func() (struct{}, error) {
		var answers atomic.Int32
		err := b.eachMaster(ctx, func(ctx context.Context, master goredis.UniversalClient) error {
			err := master.Ping(ctx).Err()
			if err == nil {
				answers.Add(1)
			}
			return err
		})
		if err == nil || answers.Load() > 0 {
			return struct{}{}, nil
		}
		return struct{}{}, failed(err)
	})
	if err != nil {
		return describeOpening(ctx, err)
	}
	warnings, err := b.Warnings(ctx)
	if err != nil {
		b.log.Warn("it could not be checked of each server whether it keeps what it acknowledges", "error", describeOpening(ctx, err))
	}
	for _, w := range warnings {
		b.log.Warn(w)
	}
	return nil
}

// hidden is an error with a text that holds no part of a URL. Programs can ask what
// it is, but not for the errors that hold one.
type hidden struct {
	text string
	err  error
}

func (h hidden) Error() string        { return h.text }
func (h hidden) GoString() string     { return h.text }
func (h hidden) Is(target error) bool { return errors.Is(h.err, target) }

// withoutPath describes an error of reading a file.
func withoutPath(parameter string, err error) error {
	text := "it holds no certificate and key that belong together, in PEM form"
	var onPath *fs.PathError
	if errors.As(err, &onPath) {
		text = onPath.Err.Error()
	}
	return hidden{"redis: " + parameter + ": " + text, err}
}

// describeOpening says why a store could not be opened: the errors of go-redis and
// of the network hold addresses, and those of servers may hold the user.
func describeOpening(ctx context.Context, err error) error {
	if errors.Is(err, errUntold) {
		return err
	}
	text := describeCause(ctx, err)
	if strings.Contains(err.Error(), "all sentinels") {
		text = "no sentinel can be asked for the master: " + text
	}
	return hidden{"redis: " + text, err}
}

func describeCause(ctx context.Context, err error) string {
	var (
		number   syscall.Errno
		dns      *net.DNSError
		timeout  net.Error
		record   tls.RecordHeaderError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
	)
	switch {
	case ended(ctx) != nil:
		return "the context ended before the server answered"
	case code(err) != "":
		return describeReply(err)
	case errors.As(err, &dns):
		return "the name of the server cannot be resolved"
	case errors.As(err, &unknown):
		return "the certificate of the server is signed by an authority that is not trusted"
	case errors.As(err, &hostname):
		return "the certificate of the server is for another name"
	case errors.As(err, &invalid):
		return "the certificate of the server is not valid"
	case errors.As(err, &record):
		return "the server does not speak TLS"
	case errors.As(err, &number):
		return "the server cannot be reached: " + number.Error()
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "the server did not answer in time; perhaps one of both sides does not speak TLS"
	default:
		return "the connection failed; perhaps one of both sides does not speak TLS"
	}
}

// describeReply is describeCause for an error that the server replied.
func describeReply(err error) string {
	switch c := code(err); {
	case c == "WRONGPASS", c == "NOAUTH":
		return strings.TrimPrefix(ErrAuth.Error(), "redis: ")
	case c == "NOPERM":
		return "the user lacks a permission; docs/redis.md lists what is needed"
	case c == "LOADING":
		return "the server is still loading its data"
	case strings.Contains(err.Error(), "cluster support disabled"):
		return "the server is not part of a cluster: the scheme is redis then"
	case strings.Contains(err.Error(), "DB index"):
		return "the server has no database of this number"
	case c == "ERR" || strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return "the server replied an error"
	default:
		return "the server replied " + c
	}
}
