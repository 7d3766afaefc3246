package httpauth

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"example.com/keystore"
)

// Auth checks requests against a Keystore. It is safe for concurrent use.
type Auth struct {
	ks         *keystore.Keystore
	opts       Options
	headers    []string // Options.Headers, canonical
	scheme     string   // of challenges
	errMissing *Failure // 401 without credentials
	throttle   *throttle
	outages    rate.Sometimes // to log
	faults     rate.Sometimes // to log
	unchecked  rate.Sometimes // to log
	untrusted  sync.Once      // to log
}

// New returns an Auth. An option that cannot be is ErrInvalid. The Keystore stays
// the caller's.
func New(ks *keystore.Keystore, o *Options) (*Auth, error) {
	if ks == nil {
		return nil, invalid("keystore", "it is nil")
	}
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Auth{
		ks:         ks,
		opts:       opts,
		scheme:     "Bearer",
		errMissing: missing(&opts),
		throttle:   newThrottle(&opts),
		outages:    rate.Sometimes{Interval: time.Second},
		faults:     rate.Sometimes{Interval: time.Second},
		unchecked:  rate.Sometimes{Interval: time.Second},
	}
	for _, name := range opts.Headers {
		a.headers = append(a.headers, http.CanonicalHeaderKey(name))
	}
	if opts.NoBearer {
		a.scheme = "ApiKey" // not registered, but RFC 9110, section 15.5.2, asks for a challenge
	}
	return a, nil
}

// Require returns middleware that lets requests through whose key covers every
// scope, and answers all others itself. Without scopes any active key will do. The
// handler finds the key by KeyFrom, and the context names the key as the actor
// (keystore.WithActor) if it names none yet.
//
// Where Require stands within Require, of this Auth or another one on the same
// Keystore, the key is looked up once, by the outer one, which also spends of its
// limits; the inner one checks its scopes alone. A request that a handler makes with
// the context of its own, and with another credential, is judged by that; one
// without any, by the key of the context if the Auth is the same.
//
// A malformed scope panics, as a malformed pattern does in http.ServeMux: it is a
// fault of the program, to be seen when it starts.
func (a *Auth) Require(scopes ...string) func(http.Handler) http.Handler {
	scopes = slices.Clone(scopes)
	if err := (keystore.Key{}).CheckScopes(scopes...); errors.Is(err, keystore.ErrInvalid) {
		panic("httpauth: Require: " + err.Error())
	}
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("httpauth: Require: the handler is nil")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			if !a.isOpen(r.URL) {
				var ok bool
				if ctx, ok = a.admit(w, r, scopes); !ok {
					return
				}
			}
			r = r.WithContext(ctx) // a copy
			if a.opts.StripCredential {
				a.strip(r)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// admit returns the context that the handler gets, or answers the request and
// returns false.
func (a *Auth) admit(w http.ResponseWriter, r *http.Request, scopes []string) (context.Context, bool) {
	in := &admitted{Context: r.Context(), auth: a}
	private, failure := a.check(r, keystore.LookupParams{Scopes: scopes}, in)
	if failure != nil {
		a.Refuse(w, r, failure)
		return nil, false
	}
	h := w.Header() // of which the handler may say otherwise
	if private && len(h["Cache-Control"]) == 0 {
		h.Set("Cache-Control", "private")
	}
	a.SetLimitFields(h, in.result)
	if keystore.ActorFrom(in) == "" {
		return keystore.WithActor(in, in.result.Key.ID), true
	}
	return in, true
}

// Check looks up the key of a request. Any error is a *Failure, to be answered by
// Refuse; a malformed scope is one with status 500. It is for what Require does not
// fit: it sees to neither open paths nor StripCredential nor the fields of limits.
// Each Check outside Require spends of the limits of the key.
func (a *Auth) Check(r *http.Request, scopes ...string) (keystore.Result, error) {
	return a.CheckWith(r, keystore.LookupParams{Scopes: scopes})
}

// CheckWith is Check with parameters. A Cost that is not 0 takes the place of that of
// Options.Cost.
func (a *Auth) CheckWith(r *http.Request, p keystore.LookupParams) (keystore.Result, error) {
	var in admitted
	if _, failure := a.check(r, p, &in); failure != nil {
		return keystore.Result{}, failure
	}
	return in.result, nil
}

// seed is of admitted.credential.
var seed = maphash.MakeSeed()

// check writes what it found to in. private is as of credential; within another
// Require that one has seen to it.
func (a *Auth) check(r *http.Request, p keystore.LookupParams, in *admitted) (private bool, failure *Failure) {
	ctx := r.Context()
	token, private, failure := a.credential(r)
	credential := maphash.String(seed, token)
	if outer, ok := ctx.Value(admittedKey{}).(*admitted); ok && outer.covers(a, credential, failure) {
		if err := outer.result.Key.CheckScopes(p.Scopes...); err != nil {
			return false, a.refused(ctx, err)
		}
		in.result, in.credential = outer.result, outer.credential
		return false, nil
	}
	client := a.clientOf(r)
	if wait := a.throttle.wait(client); wait > 0 {
		return false, throttled(wait)
	}
	if failure != nil {
		return false, failure
	}
	if p.Cost == 0 && a.opts.Cost != nil {
		p.Cost = a.opts.Cost(r)
	}
	result, err := a.ks.LookupWith(ctx, token, p)
	if err != nil {
		failure = a.refused(ctx, err)
		if failure.Code == CodeInvalidToken && a.throttle.spend(client) {
			a.opts.Logger.WarnContext(ctx, "httpauth: too many failed attempts, the client is throttled", "client", client)
		}
		return false, failure
	}
	if result.LimitsUnchecked {
		a.unchecked.Do(func() {
			a.opts.Logger.WarnContext(ctx, "httpauth: requests pass whose limits cannot be counted", "key", result.Key.ID)
		})
	}
	in.result, in.credential = result, credential
	return private, nil
}

// refused is failed, with a line in the log for what the operator must see to; one
// a second will do, as every request brings another. A client that went away is
// none.
func (a *Auth) refused(ctx context.Context, err error) *Failure {
	f := a.failed(err)
	if f.Status >= 500 && ctx.Err() == nil {
		line := &a.outages
		if f.Code == CodeMisconfigured { // which a client may be able to bring about, and must not hide an outage
			line = &a.faults
		}
		line.Do(func() {
			a.opts.Logger.WarnContext(ctx, "httpauth: a key could not be checked", "status", f.Status, "error", err)
		})
	}
	return f
}

// admitted is the context of a request that was let through.
type admitted struct {
	context.Context
	auth       *Auth
	result     keystore.Result
	credential uint64 // a hash of it, which tells nothing without the seed
}

// covers reports whether a request with this credential, or with the refusal that it
// has none, was looked up already. Once more would spend of its limits twice.
func (c *admitted) covers(a *Auth, credential uint64, refusal *Failure) bool {
	if refusal != nil {
		return refusal == a.errMissing && c.auth == a
	}
	return credential == c.credential && c.auth.ks == a.ks
}

type admittedKey struct{}

func (c *admitted) Value(key any) any {
	if key == (admittedKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// KeyFrom returns the key by which Require let the request of this context
// through, false where no key was asked for.
func KeyFrom(ctx context.Context) (keystore.Key, bool) {
	r, ok := ResultFrom(ctx)
	return r.Key, ok
}

// ResultFrom is KeyFrom with the fuller result of the lookup.
func ResultFrom(ctx context.Context) (keystore.Result, bool) {
	if in, ok := ctx.Value(admittedKey{}).(*admitted); ok {
		return in.result, true
	}
	return keystore.Result{}, false
}
