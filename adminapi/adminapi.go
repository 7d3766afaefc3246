package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"example.com/keystore"
	"example.com/keystore/httpauth"
)

// maxBody is how long the body of a request may be, in bytes.
const maxBody = 64 << 10

// Options configure the handler. A nil *Options and zero fields mean the defaults.
type Options struct {
	// Authorize says what the caller of a request may do. It is called before the
	// body is read. An error that is a *httpauth.Failure is answered as it says,
	// ErrForbidden with 403, and any other with 503, for an outage is no refusal.
	// Default: ByKey(Auth).
	Authorize func(r *http.Request) (Grant, error)
	// Auth reads and checks the keys of callers, and writes refusals. Default:
	// httpauth.New(ks, nil). A query parameter cannot carry the key here.
	Auth *httpauth.Auth
	// BasePath is where the handler is mounted, without the slash at the end, for
	// Location fields and the description. Default "/v1"; "/" is the root.
	BasePath string
	// Logger gets failures of the store. Default: discard.
	Logger *slog.Logger
}

// New returns the handler. It serves /keys and what is below, /lookup, /usage,
// /plans, and /openapi.json and /openapi.yaml, the last two to everyone. It is safe for
// concurrent use. The error is keystore.ErrInvalid.
func New(ks *keystore.Keystore, o *Options) (http.Handler, error) {
	if ks == nil {
		return nil, fmt.Errorf("%w keystore: it is nil", keystore.ErrInvalid)
	}
	h := &handler{ks: ks, plans: ks.Plans(), mux: http.NewServeMux(), base: "/v1", log: slog.New(slog.DiscardHandler)}
	if o == nil {
		o = &Options{}
	}
	if o.BasePath != "" {
		h.base = strings.TrimRight(o.BasePath, "/")
		if h.base != "" && (!strings.HasPrefix(h.base, "/") || path.Clean(h.base) != h.base) {
			return nil, fmt.Errorf("%w BasePath: it is not a clean path that begins with a slash", keystore.ErrInvalid)
		}
	}
	if o.Logger != nil {
		h.log = o.Logger
	}
	if h.auth = o.Auth; h.auth == nil {
		auth, err := httpauth.New(ks, nil)
		if err != nil {
			return nil, err
		}
		h.auth = auth
	}
	if h.authorize = o.Authorize; h.authorize == nil {
		h.authorize = ByKey(h.auth)
	}
	h.register(o.Authorize == nil)
	return h, nil
}

// handler is the API. It does not change after New.
type handler struct {
	ks        *keystore.Keystore
	plans     plans
	auth      *httpauth.Auth
	authorize func(r *http.Request) (Grant, error)
	mux       *http.ServeMux
	base      string
	log       *slog.Logger
}

// register puts every operation and the description on the mux. That is made when
// somebody asks for it, for it takes longer than all else here.
func (h *handler) register(byKey bool) {
	for _, op := range operations() {
		h.mux.HandleFunc(op.method+" "+op.path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, op) })
	}
	description := sync.OnceValues(func() (inJSON, inYAML []byte) { return describe(h.base, byKey) })
	serve := func(w http.ResponseWriter, mediaType string, content []byte) {
		w.Header().Set("Cache-Control", "no-cache")
		send(w, http.StatusOK, mediaType, content)
	}
	h.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		inJSON, _ := description()
		serve(w, "application/json", inJSON)
	})
	h.mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		_, inYAML := description()
		serve(w, "application/yaml", inYAML) // RFC 9512
	})
}

// ServeHTTP answers what the mux would answer in plain text or with a redirection,
// which does not know where the handler is mounted, as a problem.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	r = r.WithContext(keystore.WithRequestID(r.Context(), id))
	if path.Clean(r.URL.Path) != r.URL.Path {
		writeProblem(w, errNoSuchPath)
		return
	}
	fallback, pattern := h.mux.Handler(r)
	if pattern != "" {
		h.mux.ServeHTTP(w, r)
		return
	}
	answer := headOnly{header: http.Header{}}
	fallback.ServeHTTP(&answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", answer.header.Get("Allow"))
		writeProblem(w, errMethod)
		return
	}
	writeProblem(w, errNoSuchPath)
}

// headOnly keeps the status and header of an answer and drops the rest.
type headOnly struct {
	header http.Header
	status int
}

func (o *headOnly) Header() http.Header         { return o.header }
func (o *headOnly) WriteHeader(status int)      { o.status = status }
func (o *headOnly) Write(p []byte) (int, error) { return len(p), nil }

// call is one request for an operation, authorized and read.
type call struct {
	*handler
	r     *http.Request
	grant Grant
	keys  keys // that the grant reaches
	id    string
	query query
	body  []byte
	match precondition
}

// keys is what a call does to keys: a Keystore, or the view of one owner.
type keys interface {
	Get(ctx context.Context, id string) (keystore.Key, error)
	List(ctx context.Context, p keystore.ListParams) ([]keystore.Key, string, error)
	Update(ctx context.Context, id string, fn func(*keystore.Changes) error) (keystore.Key, error)
	Rotate(ctx context.Context, id string, grace time.Duration, p *keystore.RotateParams) (keystore.Token, keystore.Key, error)
	EndGrace(ctx context.Context, id string) (keystore.Key, error)
	Revoke(ctx context.Context, id, reason string) (keystore.Key, error)
	Delete(ctx context.Context, id string) error
	LimitsOf(ctx context.Context, id string) ([]keystore.LimitState, error)
	Usage(ctx context.Context, id string, from, to time.Time) iter.Seq2[keystore.Usage, error]
}

// answer is what an operation answers when it succeeded.
type answer struct {
	header map[string]string
	body   any // nil: 204
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, op operation) {
	grant, err := h.authorize(r)
	if err == nil {
		err = grant.check(h.plans)
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	c := &call{handler: h, r: r, grant: grant, id: r.PathValue("id"), keys: h.ks}
	if grant.Actor != "" { // else who it is may stand in the context already
		c.r = r.WithContext(keystore.WithActor(r.Context(), grant.Actor))
	}
	if grant.Owner != "" {
		c.keys = h.ks.ForOwner(grant.Owner)
	}
	out, err := c.run(w, op)
	if err != nil {
		h.fail(w, c.r, op, err)
		return
	}
	for name, value := range out.header {
		w.Header().Set(name, value)
	}
	if out.body == nil {
		w.WriteHeader(op.status)
		return
	}
	writeJSON(w, op.status, "application/json", out.body)
}

func (c *call) run(w http.ResponseWriter, op operation) (out answer, err error) {
	if c.query, err = parseQuery(c.r.URL.RawQuery, op.parameters); err != nil {
		return answer{}, err
	}
	if op.changes() {
		if c.match, err = parseIfMatch(c.r.Header.Values("If-Match")); err != nil {
			return answer{}, err
		}
	}
	if op.method != http.MethodGet && op.method != http.MethodDelete {
		if c.body, err = readBody(w, c.r, op); err != nil {
			return answer{}, err
		}
	}
	return op.run(c)
}

// refuse answers an error of Authorize.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var failure *httpauth.Failure
	switch {
	case errors.As(err, &failure):
		h.auth.Refuse(w, r, err)
	case errors.Is(err, ErrForbidden):
		writeProblem(w, errForbidden)
	default:
		h.log.ErrorContext(r.Context(), "adminapi: the caller could not be authorized", "request_id", keystore.RequestIDFrom(r.Context()), "error", err)
		writeProblem(w, errUnavailable)
	}
}

// fail answers an error of an operation.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, op operation, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		h.log.ErrorContext(r.Context(), "adminapi: an operation failed", "operation", op.id, "request_id", keystore.RequestIDFrom(r.Context()), "error", err)
	}
	writeProblem(w, p)
}

// writeJSON writes a value that marshals, or nothing of it.
func writeJSON(w http.ResponseWriter, status int, mediaType string, body any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		panic("adminapi: " + err.Error()) // a type of this package that does not marshal
	}
	send(w, status, mediaType, out.Bytes())
}

func send(w http.ResponseWriter, status int, mediaType string, content []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	w.Write(content) // a client that has gone needs no answer
}
