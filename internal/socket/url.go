package socket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"example.com/keystore/backend"
)

// Scheme is that of the URL of a socket: unix:///path/of/the/socket.
const Scheme = "unix"

func init() { backend.Register(Scheme, openURL) }

// URL names the socket at a path.
func URL(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	return (&url.URL{Scheme: Scheme, Path: path}).String()
}

func openURL(ctx context.Context, rawURL string, _ *backend.OpenOptions) (backend.Backend, error) {
	path, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: socket: %w", backend.ErrInvalidURL, err)
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	return open(ctx, path)
}

// parseURL returns the path that a URL names. Its errors hold no part of it.
func parseURL(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return "", errors.New("the URL cannot be parsed") // its error quotes the URL
	case u.User != nil, u.Host != "", u.Opaque != "":
		return "", errors.New("three slashes begin the path of a socket, unix:///path")
	case strings.ContainsAny(rawURL, "?#"):
		return "", errors.New("the URL of a socket has no parameters and no fragment; in a path write %3F and %23")
	case strings.ContainsRune(u.Path, 0):
		return "", errors.New("the path holds a NUL")
	case strings.Trim(u.Path, "/") == "":
		return "", errors.New("the URL names no socket: unix:///path")
	}
	path := filepath.FromSlash(u.Path)
	if filepath.Separator == '\\' && len(path) > 2 && path[2] == ':' {
		path = path[1:]
	}
	return path, nil
}
