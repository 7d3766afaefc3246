package adminapi

import (
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.com/keystore/httpauth"
)

// tokenLike finds what could be the secret part of a token. It is longer than a
// word, an id or a scope usually is.
var tokenLike = regexp.MustCompile(`[0-9A-Za-z]{38,}`)

// requestID is what others call the request, or a name of our own.
func requestID(r *http.Request) string {
	if id, ok := httpauth.RequestID(r); ok {
		return id
	}
	return rand.Text()
}

// query holds the parameters of a request, each at most once and not empty.
type query map[string]string

// parseQuery refuses what it does not know: a filter that is misspelt would
// otherwise list everything.
func parseQuery(raw string, known []parameter) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, problem{Status: http.StatusBadRequest, Code: "malformed", Location: "query", Detail: "The query is malformed."}
	}
	q := query{}
	for name, given := range values {
		if !slices.ContainsFunc(known, func(p parameter) bool { return p.name == name }) {
			return nil, invalid("query", "A query parameter is unknown here.")
		}
		if len(given) != 1 || given[0] == "" {
			return nil, invalid("query."+name, "A query parameter is given once, and is not empty.")
		}
		q[name] = given[0]
	}
	return q, nil
}

// readBody returns the body of a request in a media type that the operation takes.
func readBody(w http.ResponseWriter, r *http.Request, op operation) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, problem{Status: http.StatusRequestTimeout, Code: "timeout", Detail: "The body did not arrive in time."}
	case err != nil:
		return nil, problem{Status: http.StatusBadRequest, Code: "malformed", Location: "body", Detail: "The body could not be read to its end."}
	case len(body) == 0 && op.body.required:
		return nil, problem{Status: http.StatusBadRequest, Code: "malformed", Location: "body", Detail: "A body is required."}
	case len(body) == 0:
		return nil, nil
	}
	if !slices.Contains(op.mediaTypes(), mediaType(r)) {
		return nil, problem{
			Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
			Detail: "The body must be " + strings.Join(op.mediaTypes(), " or ") + " in UTF-8.",
		}
	}
	return body, nil
}

// mediaType is that of the body, "" if it is none or another charset than UTF-8.
func mediaType(r *http.Request) string {
	fields := r.Header.Values("Content-Type")
	if len(fields) != 1 {
		return ""
	}
	name, parameters, err := mime.ParseMediaType(fields[0])
	if err != nil {
		return ""
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return ""
	}
	return name
}
