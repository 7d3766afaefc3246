package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// absence says what happens where there is no store.
type absence bool

const (
	mustExist absence = false // an empty store in the wrong place would look like one whose keys are gone
	mayCreate absence = true
)

// withStore opens the store as a Keystore for do.
func (a *app) withStore(cmd *cobra.Command, absent absence, do func(context.Context, *keystore.Keystore) error) error {
	rawURL, err := a.storeURL(absent)
	if err != nil {
		return err
	}
	options, err := a.options()
	if err != nil {
		return err
	}
	trail, err := a.openTrail(nil)
	if err != nil {
		return err
	}
	defer closing(options.Logger, "the audit log", trail.Close)
	options.Audit = trail.Auditor
	ctx := asOperator(cmd.Context())
	ks, err := beside(rawURL, func(rawURL string) (*keystore.Keystore, error) { return keystore.Open(ctx, rawURL, options) })
	if err != nil {
		return openError(err)
	}
	err = do(ctx, ks)
	closing(options.Logger, "the store", ks.Close)
	return explained(err)
}

// closing warns if closing fails. What was acknowledged is stored all the same.
func closing(log *slog.Logger, what string, close func() error) {
	if err := close(); err != nil {
		log.Warn("closing "+what+" failed", "error", errorText(err))
	}
}

// withBackend opens the store as a backend for do.
func (a *app) withBackend(cmd *cobra.Command, absent absence, do func(context.Context, backend.Backend) error) error {
	rawURL, err := a.storeURL(absent)
	if err != nil {
		return err
	}
	b, err := a.openBackend(cmd.Context(), rawURL)
	if err != nil {
		return err
	}
	defer a.closeBackend(b)
	return explained(do(cmd.Context(), b))
}

func (a *app) openBackend(ctx context.Context, rawURL string) (backend.Backend, error) {
	o := &backend.OpenOptions{Logger: a.logger()}
	b, err := beside(rawURL, func(rawURL string) (backend.Backend, error) { return backend.Open(ctx, rawURL, o) })
	switch {
	case errors.Is(err, backend.ErrInvalidURL):
		return nil, openError(fmt.Errorf("%w URL: %w", keystore.ErrInvalid, err))
	case err != nil:
		return nil, openError(fmt.Errorf("%w: open: %w", keystore.ErrUnavailable, err))
	}
	return b, nil
}

func (a *app) closeBackend(b backend.Backend) { closing(a.logger(), "the store", b.Close) }

// storeURL returns the URL to open.
func (a *app) storeURL(absent absence) (string, error) {
	s, err := a.setting("store", a.global.store, "KEYSTORE_URL")
	if err != nil {
		return "", err
	}
	if s.text == "" {
		if s.text, err = defaultStore(runtime.GOOS, a.getenv); err != nil {
			return "", err
		}
	}
	if err := s.checkScheme(); err != nil {
		return "", err
	}
	if absent == mustExist {
		return neverCreate(s.text), nil
	}
	return s.text, nil
}

// checkScheme refuses what does not begin like the URL of a store.
func (s setting) checkScheme() error {
	if known := backend.Schemes(); !slices.Contains(known, schemeOf(s.text)) {
		return usagef("%s: the URL of a store begins with one of %s://", s.from, strings.Join(known, "://, "))
	}
	return nil
}

func schemeOf(rawURL string) string {
	scheme, _, _ := strings.Cut(rawURL, "://")
	return strings.ToLower(scheme)
}

// neverCreate tells Badger not to make the folder, unless the URL says itself
// what to do. A URL that it cannot read is left to the driver to refuse.
func neverCreate(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || schemeOf(rawURL) != "badger" || strings.Contains(rawURL, "#") {
		return rawURL
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || query.Has("create") || query.Has("memory") {
		return rawURL
	}
	separator := "?"
	if strings.Contains(rawURL, "?") {
		separator = "&"
	}
	return rawURL + separator + "create=0"
}

// defaultStore is a Badger folder in the user's data directory.
func defaultStore(goos string, getenv func(string) string) (string, error) {
	dir := dataDir(goos, getenv)
	if !filepath.IsAbs(dir) {
		return "", usagef("no store is named, and the environment tells no data directory: give --store or KEYSTORE_URL")
	}
	path := filepath.ToSlash(filepath.Join(dir, "keystore"))
	if !strings.HasPrefix(path, "/") { // C:/Users/…
		path = "/" + path
	}
	return (&url.URL{Scheme: "badger", Path: path}).String(), nil
}

func dataDir(goos string, getenv func(string) string) string {
	home := getenv("HOME")
	switch {
	case goos == "windows":
		return getenv("LocalAppData")
	case goos != "darwin" && filepath.IsAbs(getenv("XDG_DATA_HOME")): // a relative one is to be ignored, says XDG
		return getenv("XDG_DATA_HOME")
	case home == "":
		return ""
	case goos == "darwin":
		return filepath.Join(home, "Library", "Application Support")
	}
	return filepath.Join(home, ".local", "share")
}

// openError is the failure to open a store, with what to do about it.
func openError(err error) error {
	var locked *badger.LockedError
	switch {
	case errors.As(err, &locked):
		who := "another process"
		if locked.PID != 0 {
			who = fmt.Sprintf("another process, perhaps the one with pid %d", locked.PID)
		}
		return unavailable(err, "the folder is open in "+who+", and belongs to one process at a time: "+
			"stop that program for the moment, or have it manage its keys itself, through the library. "+
			"Beside 'keystore serve' every command works")
	case errors.Is(err, badger.ErrNoStore):
		return unavailable(err, "the folder holds no store: is its URL right, and its disk mounted? "+
			"Only generate, restore and, in TO, copy make a new one")
	}
	if errors.Is(err, badger.ErrDamagedTable) {
		return &failure{status: statusCorrupt, cause: err, text: errorText(err) + ". Restore a backup into another folder"}
	}
	if errors.Is(err, badger.ErrDamaged) {
		return &failure{status: statusCorrupt, cause: err, text: errorText(err) + ". Restore a backup into another folder; or, if there is none, " +
			"add accept_damage=1 to the URL to open what is left, in which keys that were revoked may be valid again"}
	}
	return err
}

// explained adds to the failure of a command what to do about it.
func explained(err error) error {
	var refused *keystore.LookupError
	if errors.As(err, &refused) && refused.Reason == keystore.ReasonUnknownPlan {
		return unavailable(err, errorText(err)+"; "+givePlans)
	}
	if errors.Is(err, badger.ErrDamaged) {
		return &failure{status: statusCorrupt, cause: err, text: errorText(err)}
	}
	if errors.Is(err, badger.ErrUnfinishedRestore) && errors.Is(err, keystore.ErrUnavailable) {
		return unavailable(err, "the store holds an unfinished restore: run 'keystore restore' again, with a whole backup")
	}
	return err
}

func unavailable(err error, text string) error {
	return &failure{status: statusUnavailable, text: text, cause: err}
}
