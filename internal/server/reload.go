package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	reloadEvery = time.Second // at most, and only when a client connects
	maxPEM      = 1 << 20     // bytes of a file
)

// reloading is a certificate and its key in two files, which are read again when
// they have changed. While they are not a pair, as between the writing of the one
// and the other, the old pair stays.
type reloading struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mutex       sync.Mutex
	looked      time.Time
	cert, key   []byte // what current was made of
	current     *tls.Certificate
	lastProblem string // that was logged
}

func (r *reloading) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if now := r.now(); now.Sub(r.looked) >= reloadEvery {
		r.looked = now
		switch err := r.load(); {
		case err == nil:
			r.lastProblem = ""
		case err.Error() != r.lastProblem:
			r.lastProblem = err.Error()
			r.log.Warn("the certificate stays the old one", "error", err.Error())
		}
	}
	return r.current, nil
}

// load reads the files, and on an error changes nothing.
func (r *reloading) load() error {
	cert, err := readPEM("certificate", r.certFile)
	if err != nil {
		return err
	}
	key, err := readPEM("key", r.keyFile)
	if err != nil {
		return err
	}
	if bytes.Equal(cert, r.cert) && bytes.Equal(key, r.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("certificate and key: %w", err)
	}
	if r.current != nil {
		r.log.Info("read a new certificate", "until", pair.Leaf.NotAfter)
	}
	r.cert, r.key, r.current = cert, key, &pair
	return nil
}

// readPEM reads a file, whose path an error does not name.
func readPEM(what, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the file of the %s: %w", what, withoutPath(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the file of the %s: %w", what, withoutPath(err))
	case len(text) > maxPEM:
		return nil, fmt.Errorf("the file of the %s is longer than 1 MiB", what)
	}
	return text, nil
}

func withoutPath(err error) error {
	var onPath *fs.PathError
	if errors.As(err, &onPath) {
		return onPath.Err
	}
	return err
}
