package server

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"example.com/keystore"
	"example.com/keystore/httpauth"
)

// The answer to a request that passed. What a client sends under these names is
// never read.
const (
	headerID     = "X-Key-Id"
	headerOwner  = "X-Key-Owner"
	headerScopes = "X-Key-Scopes"
)

const verifyPath = "/verify"

// isVerify reports whether a request is for Verify. A mux must not decide that: it
// would clean the path, of which all but the beginning may be the client's.
func isVerify(r *http.Request) bool {
	path := r.URL.EscapedPath()
	return path == verifyPath || strings.HasPrefix(path, verifyPath+"/")
}

// Verify answers a proxy that asks whether it may let a request pass, by the
// credential of that request: nginx's auth_request, forward_auth of Caddy and
// Traefik, ext_authz of Envoy over HTTP. The scopes that the key must cover, and what
// the request spends of its limits, come from the URL, which stands in the proxy's
// configuration, and from nowhere else:
//
//	/verify?scope=a&scope=b   both of them; a parameter with another name is refused
//	/verify?scope=a&cost=10   the same at a price, 1 to keystore.MaxCost; else it is 1
//	/verify/a,b/…             both scopes, for Envoy, which appends the path and query
//	                          of its client: they are ignored
//	/verify/-/…               any key
//
// The answer to a key that is good for them is 200 with an empty body and
// X-Key-Id, X-Key-Owner (see encodeOwner) and X-Key-Scopes (separated by spaces,
// at most 8 KiB), and the fields of its limits if Config.RateLimitFields is on. Any
// other is that of httpauth: 400, 401, 403, 429, 500 or 503.
func Verify(a *httpauth.Auth) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		required, ok := requirements(r.URL)
		if !ok {
			a.Refuse(w, r, errRequirements)
			return
		}
		found, err := a.CheckWith(r, required)
		if err != nil {
			a.Refuse(w, r, err)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set(headerID, found.Key.ID)
		h.Set(headerOwner, encodeOwner(found.Key.Owner))
		h.Set(headerScopes, found.Key.Scopes.String())
		a.SetLimitFields(h, found)
		w.WriteHeader(http.StatusOK)
	})
}

var errRequirements = &httpauth.Failure{
	Status: http.StatusBadRequest, Code: httpauth.CodeInvalidRequest,
	Detail: "The URL of /verify does not name well-formed scopes and a price.",
}

// requirements are those that the URL names. A malformed one is no fault of this
// program, as it would be in a lookup.
func requirements(u *url.URL) (required keystore.LookupParams, ok bool) {
	required, ok = named(u)
	if ok && errors.Is(keystore.Key{}.CheckScopes(required.Scopes...), keystore.ErrInvalid) {
		return keystore.LookupParams{}, false
	}
	return required, ok
}

func named(u *url.URL) (required keystore.LookupParams, ok bool) {
	rest, found := strings.CutPrefix(u.EscapedPath(), verifyPath)
	switch {
	case !found:
		return required, false
	case strings.HasPrefix(rest, "/"):
		list, _, _ := strings.Cut(rest[1:], "/")
		if list != "-" {
			required.Scopes = strings.Split(list, ",")
		}
		return required, true
	case rest != "":
		return required, false
	case u.RawQuery == "":
		return required, true
	}
	return inQuery(u.RawQuery)
}

// inQuery refuses what it does not know: with a typing error in "scope" the service
// would be open to every key.
func inQuery(query string) (required keystore.LookupParams, ok bool) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return required, false
	}
	for name, list := range values {
		switch {
		case name == "scope":
			required.Scopes = list
		case name == "cost" && len(list) == 1:
			if required.Cost, ok = parseCost(list[0]); !ok {
				return required, false
			}
		default:
			return required, false
		}
	}
	return required, len(values) > 0
}

// parseCost reads a whole number, 1 to keystore.MaxCost, in its one spelling.
func parseCost(text string) (cost int64, ok bool) {
	cost, err := strconv.ParseInt(text, 10, 64)
	return cost, err == nil && cost >= 1 && cost <= keystore.MaxCost && strconv.FormatInt(cost, 10) == text
}

// encodeOwner makes an owner, any UTF-8 text, fit for a header: the unreserved
// characters of RFC 3986, section 2.3 (letters, digits, "-", ".", "_", "~") and
// "@", ":", "/" stand for themselves, every other byte is "%" and two hexadecimal
// digits in upper case. Decoders of paths and of forms both read it.
func encodeOwner(owner string) string {
	const digits = "0123456789ABCDEF"
	plain := 0
	for plain < len(owner) && standsForItself(owner[plain]) {
		plain++
	}
	if plain == len(owner) {
		return owner
	}
	var b strings.Builder
	b.WriteString(owner[:plain])
	for _, c := range []byte(owner[plain:]) {
		if standsForItself(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func standsForItself(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~@:/", c) >= 0
}
