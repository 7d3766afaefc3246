package adminapi

import (
	"errors"
	"net/http"
	"strings"

	"example.com/keystore"
)

// problem is an error as clients get it (RFC 9457). Its texts hold nothing that the
// client sent.
type problem struct {
	Type     string   `json:"type" doc:"about:blank, for the code says what it is; with rate_limited the URI of the problem type quota-exceeded."`
	Title    string   `json:"title" doc:"The status in words; with rate_limited, Quota Exceeded."`
	Status   int      `json:"status" format:"int32"`
	Code     string   `json:"code" doc:"What it is, for programs."`
	Detail   string   `json:"detail,omitempty" doc:"What it is, for people."`
	Location string   `json:"location,omitempty" doc:"Where in the request the fault is, such as body.name, query.limit, header.If-Match."`
	Missing  []string `json:"missing_scopes,omitempty" nullable:"false" doc:"Scopes that the presented key lacks."`
	Exceeded []string `json:"violated-policies,omitempty" nullable:"false" doc:"With rate_limited, the names of the limits of the presented key that leave too little."`
	Token    string   `json:"token,omitempty" doc:"With unknown_outcome, the token that works if the change happened. It cannot be had again."`
	Key      *keyView `json:"key,omitempty" doc:"With unknown_outcome, the key as it is if the change happened."`
}

func (p problem) Error() string { return p.Code + ": " + p.Detail }

// The problems that are always the same.
var (
	errNoSuchPath = problem{Status: http.StatusNotFound, Code: "not_found", Detail: "There is nothing at this path."}
	errMethod     = problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "The Allow field names the methods of this path."}
	errForbidden  = problem{Status: http.StatusForbidden, Code: "forbidden", Detail: "You may not do this."}
	errTooLarge   = problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Location: "body", Detail: "The body is longer than 65536 bytes."}

	// errNoKey is the one answer for a key that does not exist and for one that is
	// out of the caller's reach.
	errNoKey = problem{Status: http.StatusNotFound, Code: "not_found", Detail: "There is no such key."}

	errPrecondition = problem{Status: http.StatusPreconditionFailed, Code: "precondition_failed", Location: "header.If-Match", Detail: "The key has another revision. Nothing was changed."}
	errConflict     = problem{Status: http.StatusConflict, Code: "conflict", Detail: "Others kept changing the key. Nothing was changed; try again."}
	errUnavailable  = problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "The store cannot be reached at present. Nothing was changed."}
	errCorrupt      = problem{Status: http.StatusServiceUnavailable, Code: "corrupt", Detail: "The stored record is damaged. Nothing was changed; only deleting it will help."}
	errUnknown      = problem{Status: http.StatusServiceUnavailable, Code: "unknown_outcome", Detail: "The store did not answer in time: the change may have happened, or may not. Look at the key before you repeat it."}
)

// invalid is a request that can never be accepted.
func invalid(location, detail string) problem {
	return problem{Status: http.StatusUnprocessableEntity, Code: "invalid", Location: location, Detail: detail}
}

// beyond is a request for more than the grant of the caller holds.
func beyond(location, detail string) problem {
	return problem{Status: http.StatusForbidden, Code: "beyond_grant", Location: location, Detail: detail}
}

// unsettled is an ErrUnknownOutcome of a change that made a token, which may be live.
type unsettled struct {
	error
	token keystore.Token
	key   keyView
}

func (u unsettled) Unwrap() error { return u.error }

// problemOf says what a client is told of an error. What is not known is an outage.
func problemOf(err error) problem {
	var p problem
	var field *keystore.FieldError
	var token unsettled
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &token):
		p = errUnknown
		p.Token, p.Key = token.token.Reveal(), &token.key
		return p
	case errors.Is(err, keystore.ErrNotFound):
		return errNoKey
	case errors.As(err, &field):
		return invalid(location(field.Field), sentence(field.Problem))
	case errors.Is(err, keystore.ErrState):
		_, why, _ := strings.Cut(err.Error(), keystore.ErrState.Error()+": ")
		return problem{Status: http.StatusConflict, Code: "state", Detail: "The state of the key forbids this. " + sentence(why)}
	case errors.Is(err, keystore.ErrConflict):
		return errConflict
	case errors.Is(err, keystore.ErrUnknownOutcome):
		return errUnknown
	case errors.Is(err, keystore.ErrCorrupt):
		return errCorrupt
	}
	return errUnavailable
}

// location is where a field of keystore stands in a request.
func location(field string) string {
	switch field {
	case "ttl", "grace":
		return "body." + field + "_seconds"
	case "scope":
		return "body.scopes"
	case "limit":
		return "query.limit"
	case "after":
		return "query.cursor"
	case "record":
		return "body"
	}
	return "body." + field
}

// sentence makes one of the problem of an error.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// writeProblem writes p. An error may name a scope, and somebody may have pasted a
// token into one.
func writeProblem(w http.ResponseWriter, p problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	p.Detail = tokenLike.ReplaceAllLiteralString(p.Detail, "…")
	if p.Code == errUnavailable.Code {
		w.Header().Set("Retry-After", "5")
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}
