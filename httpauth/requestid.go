package httpauth

import (
	"net/http"

	"example.com/keystore"
)

const (
	maxRequestID = 64 // bytes
	tokenRun     = 38 // letters and digits in a row that may be the secret of a token
)

// RequestID returns what the program around calls the request, by
// keystore.WithRequestID, or else the client or a proxy before it in the field
// X-Request-Id; false where that is not one name of 1 to 64 characters of
// [0-9A-Za-z._-], or where it may hold a token. It is for programs that give such a
// name to keystore.WithRequestID.
func RequestID(r *http.Request) (string, bool) {
	ids := r.Header["X-Request-Id"]
	if id := keystore.RequestIDFrom(r.Context()); id != "" {
		ids = []string{id}
	}
	if len(ids) != 1 || !validRequestID(ids[0]) {
		return "", false
	}
	return ids[0], true
}

func validRequestID(id string) bool {
	run := 0
	for _, c := range []byte(id) {
		switch {
		case isAlphanumeric(c):
			run++
		case c == '.', c == '_', c == '-':
			run = 0
		default:
			return false
		}
		if run == tokenRun {
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}
