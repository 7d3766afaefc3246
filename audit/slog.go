package audit

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"example.com/keystore"
)

// SlogOptions configure Slog. A nil *SlogOptions and nil fields mean the defaults.
type SlogOptions struct {
	Message string       // of each record; default "audit"
	Level   slog.Leveler // of what was done; default slog.LevelInfo
	Refused slog.Leveler // of what was refused, failed or is unknown; default slog.LevelWarn
}

// Slog returns an Auditor that writes one record for each event: the event's time,
// a constant message, and the fields of the event as attributes, named as in JSON;
// those that are empty are left out. nil is slog.Default().
//
// An error of the logger's handler is an error of Audit; when the same events come
// again, it goes on at the one that failed. Several Keystores may share it; after
// an error, events of one may then be written twice.
func Slog(l *slog.Logger, o *SlogOptions) keystore.Auditor {
	s := &slogAuditor{message: "audit", done: slog.LevelInfo, refused: slog.LevelWarn}
	if l == nil {
		l = slog.Default()
	}
	s.handler = l.Handler()
	if o != nil {
		if o.Message != "" {
			s.message = o.Message
		}
		if o.Level != nil {
			s.done = o.Level
		}
		if o.Refused != nil {
			s.refused = o.Refused
		}
	}
	return s
}

type slogAuditor struct {
	handler       slog.Handler
	message       string
	done, refused slog.Leveler

	mu      sync.Mutex
	batch   []keystore.Event // that failed
	written int              // of it
}

func (s *slogAuditor) Audit(ctx context.Context, events []keystore.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.batch, events) {
		s.batch, s.written = slices.Clone(events), 0
	}
	for _, e := range events[s.written:] {
		if err := s.write(ctx, &e); err != nil {
			return err
		}
		s.written++
	}
	s.batch = nil
	return nil
}

func (s *slogAuditor) write(ctx context.Context, e *keystore.Event) error {
	level := s.done.Level()
	if e.Outcome != keystore.OutcomeDone {
		level = s.refused.Level()
	}
	if !s.handler.Enabled(ctx, level) {
		return nil
	}
	r := slog.NewRecord(e.Time, level, s.message, 0)
	for _, a := range []struct{ name, value string }{
		{"action", string(e.Action)}, {"outcome", string(e.Outcome)}, {"key_id", e.KeyID}, {"owner", e.Owner},
		{"actor", e.Actor}, {"request_id", e.RequestID}, {"reason", string(e.Reason)},
	} {
		if a.value != "" {
			r.AddAttrs(slog.String(a.name, a.value))
		}
	}
	if e.Generation != 0 {
		r.AddAttrs(slog.Int("generation", e.Generation))
	}
	if e.Revision != 0 {
		r.AddAttrs(slog.Uint64("revision", e.Revision))
	}
	r.AddAttrs(slog.Int("count", e.Count))
	if e.Detail != "" {
		r.AddAttrs(slog.String("detail", e.Detail))
	}
	return s.handler.Handle(ctx, r)
}
