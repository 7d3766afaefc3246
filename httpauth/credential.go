package httpauth

import (
	"net/http"
	"net/url"
	"strings"
)

// credential returns the one token that a request carries. The answer needs to be
// called private where shared caches cannot know that it is: RFC 9111, section 3.5,
// keeps them from storing answers to requests with Authorization, but not with
// other fields or queries.
func (a *Auth) credential(r *http.Request) (token string, private bool, refusal *Failure) {
	found := 0     // credentials of all kinds
	other := false // Authorization of another scheme
	private = true
	if !a.opts.NoBearer {
		fields := r.Header["Authorization"]
		if len(fields) > 1 {
			return "", false, errSeveral
		}
		if len(fields) == 1 {
			if t, ok := bearer(fields[0]); ok {
				token, private, found = t, false, 1
			} else {
				other = true
			}
		}
	}
	for _, name := range a.headers {
		if fields := r.Header[name]; len(fields) > 0 {
			token, found = fields[0], found+len(fields)
		}
	}
	if a.opts.QueryParameter != "" {
		t, n := parameter(r.URL.RawQuery, a.opts.QueryParameter)
		if n > 0 {
			token, found = t, found+n
		}
	}
	switch {
	case found == 0:
		return "", false, a.errMissing
	case found > 1 || other:
		return "", false, errSeveral
	case token == "":
		return "", false, errEmpty
	case strings.IndexByte(token, ',') >= 0:
		return "", false, errComma
	}
	return token, private, nil
}

// bearer returns what follows the scheme in an Authorization field (RFC 6750,
// section 2.1), and false if it is another scheme. A field without any is an empty
// credential.
func bearer(field string) (token string, ok bool) {
	scheme, rest, _ := strings.Cut(field, " ")
	if field != "" && !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimLeft(rest, " "), true
}

// parameter returns the value of a query parameter as it was sent, and how often
// the parameter is there. Its name may be percent-encoded, or somebody could hide
// a second one; the value may not, since no character of a token needs to be.
func parameter(query, name string) (value string, n int) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if v, ok := isParameter(pair, name); ok {
			value, n = v, n+1
		}
	}
	return value, n
}

// withoutParameter returns the query without a parameter, the others byte for byte
// as they were.
func withoutParameter(query, name string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if _, ok := isParameter(pair, name); !ok {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

func isParameter(pair, name string) (value string, ok bool) {
	key, value, _ := strings.Cut(pair, "=")
	if key == name {
		return value, true
	}
	if strings.ContainsAny(key, "%+") {
		decoded, err := url.QueryUnescape(key)
		return value, err == nil && decoded == name
	}
	return "", false
}

// strip removes whatever could be a credential from a request that is a copy of
// the caller's already.
func (a *Auth) strip(r *http.Request) {
	r.Header = r.Header.Clone()
	if !a.opts.NoBearer {
		for _, field := range r.Header["Authorization"] { // more than one only where the path is open
			if _, ok := bearer(field); ok {
				delete(r.Header, "Authorization")
			}
		}
	}
	for _, name := range a.headers {
		delete(r.Header, name)
	}
	if name := a.opts.QueryParameter; name != "" {
		a.stripQuery(r, name)
	}
}

func (a *Auth) stripQuery(r *http.Request, name string) {
	if _, n := parameter(r.URL.RawQuery, name); n == 0 {
		return
	}
	u := *r.URL
	u.RawQuery = withoutParameter(u.RawQuery, name)
	r.URL = &u
	if before, query, ok := strings.Cut(r.RequestURI, "?"); ok {
		r.RequestURI = before
		if query = withoutParameter(query, name); query != "" {
			r.RequestURI += "?" + query
		}
	}
	if r.Form != nil { // somebody parsed it before
		form := make(url.Values, len(r.Form))
		for k, v := range r.Form {
			if k != name {
				form[k] = v
			}
		}
		r.Form = form
	}
}
