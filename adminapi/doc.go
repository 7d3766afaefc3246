// Package adminapi manages the keys of a keystore over HTTP: create, list, show,
// change, rotate, revoke, disable, enable, delete, look up, limits and usage. It is a handler of
// net/http that a program mounts where it likes:
//
//	api, err := adminapi.New(ks, nil)
//	…
//	mux.Handle("/v1/", http.StripPrefix("/v1", api))
//
// Who may call it is what Options.Authorize says. Out of the box that is whoever
// presents a key of the same store with the scope keystore:admin, for all keys, or
// keystore:self, for those of the key's own owner. A program with logins of its own
// replaces it, so that its users manage their keys.
//
// Nobody grants more than the Grant of the call holds: not scopes, not a later
// expiry, not wider limits, not another owner. That is checked on the values that are written, within
// the change itself, so that two changes at a time cannot add up to more.
//
// Bodies are JSON (RFC 8259) in UTF-8, at most 64 KiB; errors are problem details
// (RFC 9457); PATCH is a JSON merge patch (RFC 7396); If-Match (RFC 9110, section
// 13.1.1) compares the revision of the key. The server describes itself in OpenAPI
// 3.1 at /openapi.json and /openapi.yaml, as openapi.yaml in this folder does.
// docs/adminapi.md tells the whole of it.
//
// Slow clients are the server's to end: set http.Server's ReadTimeout.
package adminapi

//go:generate go run ./internal/describe openapi.yaml
