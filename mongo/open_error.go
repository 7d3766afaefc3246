package mongo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"example.com/keystore/backend"
)

// failure is an error of opening with a text of ours: what the client library
// says names hosts, files and values of the URL. They cannot be had by errors.As
// either.
type failure struct {
	text string
	err  error
}

func (f failure) Error() string        { return "mongo: opening: " + f.text }
func (f failure) Is(target error) bool { return errors.Is(f.err, target) }

// openError describes why a store could not be opened.
func openError(ctx context.Context, err error) error {
	var found finding
	switch {
	case errors.Is(err, backend.ErrInvalidURL):
		return err // with a text of ours
	case errors.As(err, &found):
		return found
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = errors.Join(err, ended)
	}
	return failure{cause(err), err}
}

// optionsError describes why the client library does not accept a URL, or cannot
// make use of it.
func (at location) optionsError(ctx context.Context, err error) error {
	var file *fs.PathError
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil, errors.As(err, &dns):
		return openError(ctx, err)
	case errors.As(err, &file):
		return failure{"a file that the URL names: " + file.Op + ": " + file.Err.Error(), err}
	}
	for _, pair := range at.kept {
		if options.Client().ApplyURI("mongodb://localhost/?"+pair).Validate() == nil {
			continue
		}
		name, _, _ := strings.Cut(pair, "=")
		name, _ = url.QueryUnescape(name) // which it survived before
		return fmt.Errorf("%w: mongo: the client library does not accept the value of %s, or not alone", backend.ErrInvalidURL, strings.ToLower(name))
	}
	return fmt.Errorf("%w: mongo: the client library does not accept it: look at the user, the password and the hosts, "+
		"where what has a meaning in a URL must be percent-encoded", backend.ErrInvalidURL)
}

// cause tells the reason for a failure as far as it holds no part of a URL.
func cause(err error) string {
	var selection topology.ServerSelectionError
	if errors.As(err, &selection) {
		for _, server := range selection.Desc.Servers {
			if server.LastError != nil {
				return "no server can be used: " + cause(server.LastError)
			}
		}
		return "no server can be used: none has answered in time, or none is the primary"
	}
	var command mongo.CommandError
	switch {
	case hasCode(err, codeAuthentication):
		return "the server does not accept the user or the password (AuthenticationFailed)"
	case hasCode(err, codeUnauthorized):
		return "the user may not do what is needed (Unauthorized)"
	case errors.As(err, &command) && command.Code != 0:
		return fmt.Sprintf("the server refuses (code %d)", command.Code)
	}
	return lineCause(err)
}

// lineCause tells why there is no connection to a server.
func lineCause(err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		noTLS     tls.RecordHeaderError
		alert     tls.AlertError
		errno     syscall.Errno
		timeout   net.Error
	)
	switch {
	case errors.As(err, &dns):
		return "the name of a host cannot be resolved"
	case errors.As(err, &authority):
		return "the certificate of the server is signed by an unknown authority"
	case errors.As(err, &hostname):
		return "the certificate of the server is for another host"
	case errors.As(err, &invalid):
		return "the certificate of the server is not valid"
	case errors.As(err, &noTLS):
		return "the server does not speak TLS"
	case errors.As(err, &alert):
		return "the server ended the TLS handshake"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.Canceled):
		return "the context was cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	return "the connection failed"
}
