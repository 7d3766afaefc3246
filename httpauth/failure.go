package httpauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/keystore"
)

// Failure is why a request is not let through. Check returns no other error, and
// Refuse answers it. It holds nothing of the credential. Some are shared between
// calls: read only.
type Failure struct {
	Status     int           // of the answer
	Code       string        // the member code of the problem
	Detail     string        // for whoever sent the request
	Missing    []string      // scopes that the key lacks, with 403
	Exceeded   []string      // names of the limits that leave too little, with 429 of CodeRateLimited
	RetryAfter time.Duration // with 429 and 503

	err error // of the Keystore
}

// The codes of failures.
const (
	CodeMissingCredentials = "missing_credentials" // 401
	CodeInvalidRequest     = "invalid_request"     // 400
	CodeInvalidToken       = "invalid_token"       // 401
	CodeInsufficientScope  = "insufficient_scope"  // 403
	CodeThrottled          = "throttled"           // 429: the client's address
	CodeRateLimited        = "rate_limited"        // 429: the key
	CodeMisconfigured      = "misconfigured"       // 500
	CodeUnavailable        = "unavailable"         // 503
)

// Error gives the code and, for logs, the Keystore's error, which says more than
// Detail.
func (f *Failure) Error() string {
	if f.err != nil {
		return "httpauth: " + f.Code + ": " + f.err.Error()
	}
	return "httpauth: " + f.Code + ": " + f.Detail
}

// Unwrap returns the *keystore.LookupError, nil where the key was not looked up.
func (f *Failure) Unwrap() error { return f.err }

// These are shared: nothing may write to them.
var (
	errSeveral = &Failure{Status: http.StatusBadRequest, Code: CodeInvalidRequest, Detail: "The request carries more than one credential. Send one."}
	errEmpty   = &Failure{Status: http.StatusBadRequest, Code: CodeInvalidRequest, Detail: "The credential is empty."}
	errComma   = &Failure{Status: http.StatusBadRequest, Code: CodeInvalidRequest, Detail: "The credential holds a comma. Send one API key."}
)

// missing says where a key may stand.
func missing(o *Options) *Failure {
	var places []string
	if !o.NoBearer {
		places = append(places, "as Authorization: Bearer")
	}
	for _, name := range o.Headers {
		places = append(places, "in the header "+name)
	}
	if o.QueryParameter != "" {
		places = append(places, "in the query parameter "+o.QueryParameter)
	}
	return &Failure{Status: http.StatusUnauthorized, Code: CodeMissingCredentials, Detail: "This needs an API key, " + strings.Join(places, " or ") + "."}
}

func throttled(wait time.Duration) *Failure {
	return &Failure{Status: http.StatusTooManyRequests, Code: CodeThrottled, Detail: "Too many failed attempts came from this address. Try again later.", RetryAfter: wait}
}

// failed turns an error of a lookup into what is answered.
func (a *Auth) failed(err error) *Failure {
	f := &Failure{err: err}
	var scopes *keystore.ScopeError
	var limited *keystore.RateLimitError
	var lookup *keystore.LookupError
	switch {
	case errors.Is(err, keystore.ErrUnauthenticated):
		f.Status, f.Code, f.Detail = http.StatusUnauthorized, CodeInvalidToken, "The API key is not valid."
		if a.opts.Detail {
			f.Detail = state(err, f.Detail)
		}
	case errors.As(err, &scopes):
		f.Status, f.Code, f.Missing = http.StatusForbidden, CodeInsufficientScope, scopes.Missing
		f.Detail = "The API key lacks a scope that this needs: " + strings.Join(scopes.Missing, ", ") + "."
	case errors.As(err, &limited):
		f.Status, f.Code, f.Exceeded, f.RetryAfter = http.StatusTooManyRequests, CodeRateLimited, limited.Exceeded(), limited.RetryAfter
		f.Detail = "The API key has used up what its limits allow for now: " + strings.Join(f.Exceeded, ", ") + "."
	case errors.As(err, &lookup) && lookup.Reason == keystore.ReasonInvalidCost:
		f.Status, f.Code, f.Detail = http.StatusInternalServerError, CodeMisconfigured, "The server asks a price that the limits of the API key never allow."
	case errors.Is(err, keystore.ErrInvalid):
		f.Status, f.Code, f.Detail = http.StatusInternalServerError, CodeMisconfigured, "The server asks for a scope that no key can have."
	default:
		f.Status, f.Code, f.RetryAfter = http.StatusServiceUnavailable, CodeUnavailable, a.opts.RetryAfter
		f.Detail = "The API key cannot be checked at present. Try again later."
	}
	return f
}

// state is what Options.Detail adds. The secret matched where the error is one of
// these.
func state(err error, otherwise string) string {
	var lookup *keystore.LookupError
	switch {
	case errors.As(err, &lookup) && lookup.Reason == keystore.ReasonSuperseded:
		return "A newer secret has replaced this API key."
	case errors.Is(err, keystore.ErrExpired):
		return "The API key has expired."
	case errors.Is(err, keystore.ErrRevoked):
		return "The API key has been revoked."
	case errors.Is(err, keystore.ErrDisabled):
		return "The API key is disabled."
	case errors.Is(err, keystore.ErrOwnerInactive):
		return "The owner of the API key is not active."
	}
	return otherwise
}

// Refuse answers a request with an error of Check: the status, WWW-Authenticate,
// Retry-After, where a limit is spent the fields that say how all of them stand,
// Cache-Control: no-store, and problem details, without a body where the method is
// HEAD. An error of a Keystore is answered as Check would, and one
// that is neither as 503.
func (a *Auth) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	var f *Failure
	if !errors.As(err, &f) || f.Status < 400 || f.Status > 599 { // one that was made outside, and wrongly
		f = a.failed(err)
	}
	h := w.Header()
	if challenge := a.challenge(f); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(wholeSeconds(f.RetryAfter), 10))
	}
	var limited *keystore.RateLimitError
	if errors.As(f.err, &limited) {
		// As of when the key was looked up, as Retry-After is, however long the store
		// took to say so.
		last := awaited(limited)
		a.setLimitFields(h, limited.Limits, last, last.Reset.Add(-limited.RetryAfter))
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Length") // of an answer that a caller had begun
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		w.Write(f.problem())
	}
}

// challenge is the value of WWW-Authenticate, "" for answers that have none. The
// realm needs no escapes, by checkAnswers, and neither do scopes.
func (a *Auth) challenge(f *Failure) string {
	c := a.scheme + ` realm="` + a.opts.Realm + `"`
	switch f.Code {
	case CodeMissingCredentials:
	case CodeInvalidRequest, CodeInvalidToken:
		c += `, error="` + f.Code + `"`
	case CodeInsufficientScope:
		c += `, error="` + f.Code + `", scope="` + strings.Join(f.Missing, " ") + `"`
	default:
		return ""
	}
	return c
}

// problem is the body (RFC 9457). With type about:blank the title is the
// status' phrase.
func (f *Failure) problem() []byte {
	kind, title := "about:blank", http.StatusText(f.Status)
	if len(f.Exceeded) > 0 {
		kind, title = quotaExceeded, "Quota Exceeded"
	}
	body, err := json.Marshal(struct {
		Type     string   `json:"type"`
		Title    string   `json:"title"`
		Status   int      `json:"status"`
		Detail   string   `json:"detail"`
		Code     string   `json:"code"`
		Missing  []string `json:"missing_scopes,omitempty"`
		Exceeded []string `json:"violated-policies,omitempty"`
	}{kind, title, f.Status, f.Detail, f.Code, f.Missing, f.Exceeded})
	if err != nil { // strings and numbers always marshal
		panic(err)
	}
	return append(body, '\n')
}
