// Package httpauth protects net/http handlers with the API keys of a
// keystore.Keystore.
//
//	auth, err := httpauth.New(ks, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	mux := http.NewServeMux()
//	mux.Handle("GET /orders", auth.Require("orders:read")(http.HandlerFunc(
//		func(w http.ResponseWriter, r *http.Request) {
//			key, _ := httpauth.KeyFrom(r.Context())
//			fmt.Fprintln(w, "orders of", key.Owner)
//		})))
//
// # Which credential counts
//
// A request carries exactly one credential: the token after "Bearer" in the
// Authorization field (RFC 6750, section 2.1), or alone in a field of
// Options.Headers, X-API-Key unless set otherwise, or in the query parameter if
// Options.QueryParameter switches it on. Two of these, of one kind or of two, an
// empty one, and one with a comma, which may be two that a proxy has joined, are
// refused with 400: servers that disagree on which of two credentials counts can
// be played off against each other. An Authorization field of another scheme is
// no credential; beside a key it is refused, since it says that somebody else
// should decide. A token in a form body is never read.
//
// # Answers
//
// The handler runs only if the key is active and covers every required scope. All
// else is answered with problem details (RFC 9457) that are not to be stored:
//
//	400 invalid_request      no or more than one reading of the credential
//	401 missing_credentials  none came
//	401 invalid_token        one answer for malformed, unknown, wrong, expired, revoked and disabled
//	403 insufficient_scope   the scopes that the key lacks are named
//	429 throttled            too many failed attempts from this address
//	429 rate_limited         a limit of the key is spent
//	500 misconfigured        the program asks for a malformed scope, or a price that the key's limits never allow
//	503 unavailable          the store cannot tell: an outage is neither a refusal nor a success
//
// 400, 401 and 403 carry WWW-Authenticate as RFC 6750, section 3, has it. The scope
// attribute of 403 names the missing scopes, not all that are required: what a
// client must ask for is what it lacks. 429 and 503 carry Retry-After. The member
// code of every problem is for programs. Its type is "about:blank", but for
// rate_limited.
//
// # Limits
//
// Each request that is let through spends of the limits of its key, by Options.Cost,
// once, however many Require it passes. Where one of them is spent, the answer is 429
// rate_limited, with Retry-After, the fields RateLimit-Policy and RateLimit, and the
// type and the member violated-policies of the problem, all as
// draft-ietf-httpapi-ratelimit-headers-11 has them:
//
//	RateLimit-Policy: "burst";q=10;w=1, "day";q=100;w=86400
//	RateLimit: "burst";r=9;t=1, "day";r=0;t=3540
//
// That is ten requests a second, of which nine are left, and a hundred a day, of
// which none is left for the next 3540 seconds. Where the store fails, and the
// Keystore lets requests pass unchecked (keystore.LimitsOpen), they have no such
// fields, and Result.LimitsUnchecked says so to the handler.
//
// # Throttling
//
// An address that keeps failing is answered 429 before any lookup, whatever
// credential it sends: up to Options.FailureBurst attempts at once, then
// FailuresPerSecond. Only a credential that came and was refused (401
// invalid_token) counts. It never counts against a key id, or anybody could lock
// out a key. IPv6 addresses count by their /64. Clients behind one address (NAT, a
// company's proxy) share its budget, so that a broken one among them can block the
// others; and behind a reverse proxy that TrustedProxies does not name, all clients
// are one.
//
// At most MaxClients addresses with failures are remembered, those longest that
// spent most. A new one beyond that takes over the budget of the address that spent
// least, as it stands; so nothing is gained by filling the table, and where every
// address in it is blocked, new ones are too.
//
// # What leaks
//
// No log line, error or answer of this package holds a credential or a URL. A token
// in a query parameter leaks all the same: into access logs, histories and referrer
// fields (RFC 6750, section 2.3). StripCredential keeps credentials from the handler
// and what it passes the request on to; middleware around Require still sees them.
package httpauth
