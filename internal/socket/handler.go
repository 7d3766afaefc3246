package socket

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// bodyTimeout is how long the body of a request may take.
const bodyTimeout = 10 * time.Second

// backupper is a store with a backup of its own.
type backupper interface{ Backup(w io.Writer) error }

// handler answers the calls of clients by those of a store.
type handler struct {
	b       backend.Backend
	changed func(ctx context.Context, id string)
	hello   hello
}

// Handler serves the store to clients that [Open] makes. changed, if not nil, is
// called with the id of a record after a Create, Update or Delete that may have
// changed it, and before the client hears of it; its context does not end when
// the client goes away. The ids that a Purge deletes are left to [backend.Watcher],
// and counts, which nobody caches, need no word.
func Handler(b backend.Backend, changed func(ctx context.Context, id string)) http.Handler {
	if changed == nil {
		changed = func(context.Context, string) {}
	}
	_, watches := b.(backend.Watcher)
	_, backs := b.(backupper)
	counts, isCounter := b.(backend.Counter)
	tallies, isMeter := b.(backend.Meter)
	h := &handler{b, changed, hello{Protocol: protocol, Server: rand.Text(), Watch: watches, Backup: backs, Counter: isCounter, Meter: isMeter}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hello", h.greet)
	mux.HandleFunc("POST /v1/create", answer(true, h.create))
	mux.HandleFunc("POST /v1/get", answer(true, h.get))
	mux.HandleFunc("POST /v1/update", answer(true, h.update))
	mux.HandleFunc("POST /v1/delete", answer(true, h.delete))
	mux.HandleFunc("POST /v1/list", answer(true, h.list))
	mux.HandleFunc("POST /v1/touch", answer(false, h.touch))
	mux.HandleFunc("POST /v1/purge", answer(false, h.purge))
	mux.HandleFunc("POST /v1/watch", h.watch)
	mux.HandleFunc("POST /v1/backup", h.backup)
	if isCounter {
		c := counter{counts}
		mux.HandleFunc("POST /v1/spend", answer(true, c.spend))
		mux.HandleFunc("POST /v1/counts", answer(true, c.counts))
		mux.HandleFunc("POST /v1/reset_counts", answer(true, c.reset))
		mux.HandleFunc("POST /v1/purge_counts", answer(false, c.purge))
	}
	if isMeter {
		m := meter{tallies}
		mux.HandleFunc("POST /v1/add_usage", answer(false, m.add))
		mux.HandleFunc("POST /v1/usage", answer(true, m.usage))
		mux.HandleFunc("POST /v1/purge_usage", answer(false, m.purge))
	}
	return mux
}

func (h *handler) greet(w http.ResponseWriter, _ *http.Request) { send(w, h.hello) }

// answer reads the arguments of a call, makes it and sends what it returns. whole
// says that the method has all of its effect or none.
func answer[Q, A any](whole bool, call func(context.Context, Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := receive(w, r, &q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		value, err := call(r.Context(), q)
		if errors.Is(err, errArguments) {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		send(w, reply[A]{Failure: failureOf(err, whole), Value: value})
	}
}

// receive reads the body of a request.
func receive(w http.ResponseWriter, r *http.Request, into any) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // a writer of a test may have none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	_ = control.SetReadDeadline(time.Time{})
	if err != nil {
		return errors.New("the body is too long, or did not come")
	}
	if err := strict.Unmarshal(body, into); err != nil {
		return errors.New("the body is not what the method takes")
	}
	return nil
}

func send(w http.ResponseWriter, value any) {
	body, err := encoding.Marshal(value)
	if err != nil {
		http.Error(w, "the reply cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/cbor")
	_, _ = w.Write(body) // a client that has gone will not hear of it
}

// errArguments refuses what no driver need cope with.
var errArguments = errors.New("an argument is out of range")

func (h *handler) create(ctx context.Context, r record) (none, error) {
	return h.write(ctx, r.ID, h.b.Create(ctx, r.backend()))
}

func (h *handler) update(ctx context.Context, r record) (none, error) {
	return h.write(ctx, r.ID, h.b.Update(ctx, r.backend()))
}

func (h *handler) delete(ctx context.Context, id string) (none, error) {
	return h.write(ctx, id, h.b.Delete(ctx, id))
}

// write tells of a write, unless it certainly had no effect.
func (h *handler) write(ctx context.Context, id string, err error) (none, error) {
	if !errors.Is(err, backend.ErrNotApplied) {
		h.changed(context.WithoutCancel(ctx), id)
	}
	return false, err
}

func (h *handler) get(ctx context.Context, id string) (record, error) {
	r, err := h.b.Get(ctx, id)
	if err != nil {
		return record{}, err
	}
	return recordOf(r)
}

func (h *handler) list(ctx context.Context, o list) ([]record, error) {
	if o.Limit < 1 || o.Limit > backend.MaxLimit {
		return nil, errArguments
	}
	page, err := h.b.List(ctx, backend.ListOptions{Owner: o.Owner, After: o.After, Limit: o.Limit})
	if err != nil {
		return nil, err
	}
	records := make([]record, len(page))
	for i := range page {
		if records[i], err = recordOf(page[i]); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (h *handler) touch(ctx context.Context, times map[string]envelope.Time) (none, error) {
	used := make(map[string]time.Time, len(times))
	for id, t := range times {
		used[id] = t.Time()
	}
	return false, h.b.Touch(ctx, used)
}

func (h *handler) purge(ctx context.Context, p purge) (int, error) {
	if p.Limit < 1 {
		return 0, errArguments
	}
	return h.b.Purge(ctx, p.Now.Time(), p.Limit)
}
