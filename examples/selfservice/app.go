package main

import (
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"example.com/keystore"
	"example.com/keystore/adminapi"
	"example.com/keystore/httpauth"
)

// plans are what the users of this application pay for: the scopes that they may
// give to their keys.
var plans = map[string][]string{
	"alice": {"orders:*"},
	"bob":   {"orders:read"},
}

// longest is how long a key may live.
const longest = 365 * 24 * time.Hour

//go:embed page.html page.js
var page embed.FS

// newApp is the whole application: a login, a page, the admin API for the page's
// script, and an API that the keys are for.
func newApp(ks *keystore.Keystore, logger *slog.Logger) (http.Handler, error) {
	logins := newDemoLogins()
	manage, err := adminapi.New(ks, &adminapi.Options{
		Authorize: func(r *http.Request) (adminapi.Grant, error) { return grantOf(logins.user(r)) },
		BasePath:  "/account",
		Logger:    logger,
	})
	if err != nil {
		return nil, err
	}
	auth, err := httpauth.New(ks, &httpauth.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage("page.html"))
	mux.HandleFunc("GET /page.js", servePage("page.js"))
	mux.HandleFunc("POST /login", logins.login)
	mux.HandleFunc("POST /logout", logins.logout)
	mux.Handle("/account/", http.StripPrefix("/account", manage))
	mux.Handle("GET /orders", auth.Require("orders:read")(http.HandlerFunc(orders)))

	// A browser sends the cookie of the session along with requests that other sites
	// make it send. Those that change something are refused here.
	return http.NewCrossOriginProtection().Handler(mux), nil
}

// grantOf says what a user may do with keys: only with their own, to which they give
// what their plan has. They set no metadata, on which the application might hang
// something, and enable nothing that the application disabled.
func grantOf(user string) (adminapi.Grant, error) {
	if user == "" {
		return adminapi.Grant{}, &httpauth.Failure{Status: http.StatusUnauthorized, Code: httpauth.CodeMissingCredentials, Detail: "Log in first."}
	}
	return adminapi.Grant{
		Actor:     user,
		Owner:     user,
		Scopes:    plans[user],
		ExpiresAt: time.Now().Add(longest),
	}, nil
}

// servePage serves a file of the page, which runs no script but its own.
func servePage(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.ServeFileFS(w, r, page, name)
	}
}

// orders is what a key opens.
func orders(w http.ResponseWriter, r *http.Request) {
	key, _ := httpauth.KeyFrom(r.Context())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "the orders of %s\n", key.Owner)
}
