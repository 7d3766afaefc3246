package badger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"example.com/keystore/backend"
)

func init() { backend.Register("badger", openURL) }

// location is what a URL says.
type location struct {
	dir      string
	memory   bool
	noSync   bool
	noCreate bool
	damaged  bool // is accepted
	keyFile  string
}

// openURL opens "badger:///folder". The folder may hold percent-encoded
// characters. Parameters:
//
//	sync=0                     Options.NoSync
//	create=0                   Options.NoCreate
//	accept_damage=1            Options.AcceptDamage
//	memory=1                   Options.InMemory, without a folder
//	encryption_key_file=/path  a file that holds Options.EncryptionKey
//
// The key file holds the 16, 24 or 32 bytes as they are, not encoded; one
// newline behind them is passed over.
func openURL(ctx context.Context, rawURL string, o *backend.OpenOptions) (backend.Backend, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: badger: %w", backend.ErrInvalidURL, err)
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	// Opening reads files, so it may take longer than ctx allows.
	type result struct {
		b   *Backend
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := at.open(o.Logger)
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return r.b, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.b != nil {
				_ = r.b.Close()
			}
		}()
		return nil, contextError(ctx)
	}
}

func (at location) open(log *slog.Logger) (*Backend, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	o := Options{NoSync: at.noSync, NoCreate: at.noCreate, AcceptDamage: at.damaged, InMemory: at.memory, Logger: log}
	if at.keyFile != "" {
		key, err := readKey(at.keyFile, log)
		if err != nil {
			return nil, fmt.Errorf("encryption key file: %w", withoutPath(err, at.keyFile))
		}
		o.EncryptionKey = key
	}
	b, err := Open(at.dir, &o)
	if err != nil {
		return nil, withoutPath(err, at.dir)
	}
	return b, nil
}

// parseURL takes rawURL apart. Its errors hold no part of it.
func parseURL(rawURL string) (location, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return location{}, errors.New("the URL cannot be parsed") // its error quotes the URL
	case u.User != nil:
		return location{}, errors.New("a folder has no user or password")
	case u.Host != "":
		return location{}, errors.New("there is no host: three slashes begin the path of a folder, badger:///folder")
	case u.Opaque != "":
		return location{}, errors.New("badger:// must be followed by a path or by ?memory=1")
	case strings.Contains(rawURL, "#"):
		return location{}, errors.New("a fragment (#) is of no use; in a path write %23")
	}
	at, err := parseQuery(u.RawQuery)
	if err != nil {
		return location{}, err
	}
	switch path := u.Path; {
	case strings.ContainsRune(path, 0):
		return location{}, errors.New("the path holds a NUL")
	case at.memory && path != "":
		return location{}, errors.New("with memory=1 there is no path: badger://?memory=1")
	case at.memory && at.keyFile != "":
		return location{}, errors.New("with memory=1 nothing is written that could be encrypted")
	case at.memory && at.damaged:
		return location{}, errors.New("with memory=1 there are no files that could be damaged")
	case at.memory && at.noCreate:
		return location{}, errors.New("with memory=1 a store is always a new one, which create=0 forbids")
	case at.memory:
		return at, nil
	case strings.Trim(path, "/") == "":
		return location{}, errors.New("the URL names no folder: badger:///folder, or badger://?memory=1")
	default:
		at.dir = localPath(path, runtime.GOOS)
		return at, nil
	}
}

func parseQuery(raw string) (location, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return location{}, errors.New("the parameters cannot be parsed")
	}
	var at location
	for name, values := range query {
		if len(values) != 1 {
			return location{}, errors.New("a parameter is given more than once")
		}
		value := values[0]
		switch name {
		case "memory":
			at.memory, err = parseSwitch(name, value)
		case "sync":
			var sync bool
			sync, err = parseSwitch(name, value)
			at.noSync = !sync
		case "accept_damage":
			at.damaged, err = parseSwitch(name, value)
		case "create":
			var create bool
			create, err = parseSwitch(name, value)
			at.noCreate = !create
		case "encryption_key_file":
			if !strings.HasPrefix(value, "/") || strings.ContainsRune(value, 0) {
				err = errors.New("encryption_key_file must be an absolute path")
			}
			at.keyFile = localPath(value, runtime.GOOS)
		default:
			err = errors.New("a parameter is unknown; known are memory, sync, create, accept_damage and encryption_key_file")
		}
		if err != nil {
			return location{}, err
		}
	}
	return at, nil
}

func parseSwitch(name, value string) (bool, error) {
	if value != "0" && value != "1" {
		return false, fmt.Errorf("%s must be 0 or 1", name)
	}
	return value == "1", nil
}

// localPath turns the path of a URL, which begins with a slash, into one of the
// file system: /C:/keys is C:\keys on Windows.
func localPath(path, goos string) string {
	if goos == "windows" && len(path) >= 3 && path[2] == ':' {
		path = path[1:]
	}
	return filepath.FromSlash(path)
}

// maxKeyFile is longer than the longest key with its newline.
const maxKeyFile = 64

func readKey(path string, log *slog.Logger) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		log.Warn("others than its owner may read the encryption key file", "package", "badger", "mode", info.Mode().Perm().String())
	}
	key, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	// The lengths of keys leave no doubt whether a newline is part of one.
	if len(key)%8 == 1 && key[len(key)-1] == '\n' {
		key = key[:len(key)-1]
	}
	if len(key) == 0 {
		return nil, errors.New("it is empty")
	}
	return key, checkKeyLen(key)
}

// pathless is an error with a text that holds no path, not even where errors.As
// is asked for the one of the operating system.
type pathless struct {
	text string
	err  error
}

func (e pathless) Error() string        { return e.text }
func (e pathless) Is(target error) bool { return errors.Is(e.err, target) }

func (e pathless) As(target any) bool {
	if _, path := target.(**fs.PathError); path {
		return false
	}
	return errors.As(e.err, target)
}

// withoutPath returns err with a text from which path is gone. Errors of the
// operating system may name a part of path only, so of those nothing but the
// operation and the cause is left.
func withoutPath(err error, path string) error {
	var onPath *fs.PathError
	if errors.As(err, &onPath) {
		return pathless{"badger: " + onPath.Op + ": " + onPath.Err.Error(), err}
	}
	if path == "" {
		return err
	}
	text := err.Error()
	for _, form := range []string{path, filepath.Clean(path)} {
		quoted := strconv.Quote(form)
		text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], "(path)")
		text = strings.ReplaceAll(text, form, "(path)")
	}
	return pathless{text, err}
}
