package socket

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/fxamacker/cbor/v2"

	"example.com/keystore/backend"
)

// stream is an answer without a known end. It is over when the client goes away,
// or the server ends.
type stream struct {
	ctx    context.Context
	encode *cbor.Encoder
	flush  func() error
}

// streaming begins a stream; call end in the end. The body of a request for one is
// null.
func streaming(w http.ResponseWriter, r *http.Request) (s *stream, end func(), err error) {
	var nothing *none
	if err := receive(w, r, &nothing); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	control := http.NewResponseController(w)
	end = cancel
	if ending, ok := ctx.Value(endingKey{}).(context.Context); ok {
		stop := context.AfterFunc(ending, func() {
			cancel()
			_ = control.SetWriteDeadline(time.Now()) // the client may not be reading
		})
		end = func() { stop(); cancel() }
	}
	w.Header().Set("Content-Type", "application/cbor-seq")
	return &stream{ctx, encoding.NewEncoder(w), control.Flush}, end, nil
}

// send sends an item at once.
func (s *stream) send(item any) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if err := s.encode.Encode(item); err != nil {
		return err
	}
	return s.flush()
}

// watch sends a reply, which says that the client is subscribed, and then ids.
func (h *handler) watch(w http.ResponseWriter, r *http.Request) {
	s, end, err := streaming(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer end()
	changes, err := h.subscribe(s.ctx)
	if s.send(reply[none]{Failure: failureOf(err, true)}) != nil || err != nil {
		return
	}
	for id := range changes {
		if s.send(id) != nil {
			return
		}
	}
}

func (h *handler) subscribe(ctx context.Context) (<-chan string, error) {
	if w, ok := h.b.(backend.Watcher); ok {
		return w.Watch(ctx)
	}
	return nil, errors.New("socket: the store cannot tell of changes")
}

// backup sends chunks.
func (h *handler) backup(w http.ResponseWriter, r *http.Request) {
	s, end, err := streaming(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer end()
	err = h.writeBackup(s)
	_ = s.send(chunk{Last: true, Failure: failureOf(err, true)}) // without it the backup is not whole
}

func (h *handler) writeBackup(s *stream) error {
	from, ok := h.b.(backupper)
	if !ok {
		return errors.New("socket: the store has no backup of its own")
	}
	out := bufio.NewWriterSize(chunks{s}, 64<<10)
	if err := from.Backup(out); err != nil {
		return err
	}
	return out.Flush()
}

// chunks sends what is written to it as chunks of a backup.
type chunks struct{ *stream }

func (c chunks) Write(p []byte) (int, error) {
	if err := c.send(chunk{Data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}
