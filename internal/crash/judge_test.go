package crash

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// brief is what a judging child looks up: the secrets of every key, oldest first.
type brief struct {
	Now    int64
	Query  string // of the URLs
	Tokens map[string][]string
}

// sighting is what a judging child found in a folder.
type sighting struct {
	Refused  string                       // the error of opening, "" if it opened
	Warnings []string                     // what was logged
	Unlisted string                       // the error that ended the listing
	Keys     map[string]seen              // by id
	Reasons  map[string][]keystore.Reason // by id, one per secret
	Accepted map[string][]bool            // likewise
}

type seen struct {
	Facts    facts
	LastUsed int64
	Damaged  string // the error instead
}

// judge looks into one folder after the other. Badger may end the process over a
// damaged file, therefore it is one of its own. Its argument is a file with the
// brief.
func judge(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var b brief
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	for {
		var dir string
		err := hear(&dir)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := say(b.look(dir)); err != nil {
			return err
		}
	}
}

func (b brief) look(dir string) (s sighting) {
	ctx, cancel := context.WithTimeout(context.Background(), silence/2)
	defer cancel()
	var log warnings
	store, err := backend.Open(ctx, "badger://"+dir+b.Query, &backend.OpenOptions{Logger: slog.New(&log)})
	if err != nil {
		s.Refused, s.Warnings = err.Error(), log.all()
		return s
	}
	ks, err := keystore.New(store, &keystore.Options{
		Now:           func() time.Time { return time.UnixMilli(b.Now) },
		TouchInterval: keystore.Never,
		PurgeInterval: keystore.Never,
	})
	if err != nil {
		s.Refused = err.Error()
		return s
	}
	s.Keys = make(map[string]seen)
	for k, err := range ks.All(ctx, "") {
		switch {
		case errors.Is(err, keystore.ErrCorrupt):
			s.Keys[k.ID] = seen{Damaged: err.Error()}
		case err != nil:
			s.Unlisted = err.Error()
		default:
			s.Keys[k.ID] = seen{Facts: factsOf(k), LastUsed: ms(k.LastUsedAt)}
		}
	}
	s.Reasons, s.Accepted = make(map[string][]keystore.Reason), make(map[string][]bool)
	for id, tokens := range b.Tokens {
		for _, token := range tokens {
			_, err := ks.Lookup(ctx, token)
			s.Reasons[id] = append(s.Reasons[id], reasonOf(err))
			s.Accepted[id] = append(s.Accepted[id], err == nil)
		}
	}
	if err := errors.Join(ks.Close(), store.Close()); err != nil {
		log.note("closing: " + err.Error())
	}
	s.Warnings = log.all()
	return s
}

// warnings keeps what is logged at Warn and above.
type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (w *warnings) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.lines...)
}

func (w *warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler               { return w }
func (w *warnings) WithGroup(string) slog.Handler                    { return w }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	line := []string{r.Message}
	r.Attrs(func(a slog.Attr) bool {
		line = append(line, a.String())
		return true
	})
	w.note(strings.Join(line, " "))
	return nil
}
