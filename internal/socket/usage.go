package socket

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// What the methods of backend.Meter send.
type (
	addition struct {
		_       struct{} `cbor:",toarray"`
		Subject string
		Day     envelope.Time
		AddID   uint64
		Counts  map[string]int64
		PurgeAt envelope.Time
	}
	usage struct {
		_        struct{} `cbor:",toarray"`
		Subject  string
		From, To envelope.Time
	}
	tally struct {
		_      struct{} `cbor:",toarray"`
		Day    envelope.Time
		Counts map[string]int64
	}
)

// metering is the methods of [backend.Meter] of a client.
type metering struct{ c *client }

// AddUsage implements [backend.Meter], in chunks of 100.
func (m metering) AddUsage(ctx context.Context, from []backend.Addition) error {
	additions := make([]addition, len(from))
	for i, a := range from {
		var err error
		if additions[i], err = additionOf(a); err != nil {
			return notApplied{err}
		}
	}
	var damage error
	for first := true; first || len(additions) > 0; first = false { // one call at least, as Touch
		part := additions[:min(len(additions), chunkOfAdditions)]
		additions = additions[len(part):]
		_, err := call[none](ctx, m.c, "/v1/add_usage", part)
		switch {
		case errors.Is(err, backend.ErrDamagedTally):
			damage = err
		case err != nil && first:
			return err
		case err != nil:
			return partial{err}
		}
	}
	return damage
}

func additionOf(a backend.Addition) (addition, error) {
	day, err := envelope.TimeOf(a.Day)
	if err != nil {
		return addition{}, err
	}
	purgeAt, err := envelope.TimeOf(a.PurgeAt)
	return addition{Subject: a.Subject, Day: day, AddID: a.AddID, Counts: a.Counts, PurgeAt: purgeAt}, err
}

// Usage implements [backend.Meter].
func (m metering) Usage(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	first, err := envelope.TimeOf(from)
	if err != nil {
		return nil, notApplied{err}
	}
	end, err := envelope.TimeOf(to)
	if err != nil {
		return nil, notApplied{err}
	}
	got, err := call[[]tally](ctx, m.c, "/v1/usage", usage{Subject: subject, From: first, To: end})
	if err != nil {
		return nil, err
	}
	tallies := make([]backend.Tally, len(got))
	for i, t := range got {
		tallies[i] = backend.Tally{Day: t.Day.Time(), Counts: t.Counts}
	}
	return tallies, nil
}

// PurgeUsage implements [backend.Meter].
func (m metering) PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error) {
	return m.c.purge(ctx, "/v1/purge_usage", now, limit)
}

// meter answers the calls of backend.Meter.
type meter struct{ backend.Meter }

func (m meter) add(ctx context.Context, from []addition) (none, error) {
	additions := make([]backend.Addition, len(from))
	for i, a := range from {
		day := a.Day.Time()
		if !isSubject(a.Subject) || len(a.Counts) > backend.MaxTallyNames || day.Unix() < 0 || !day.Equal(day.Truncate(24*time.Hour)) {
			return false, errArguments
		}
		for name, n := range a.Counts {
			if !named(name, backend.MaxTallyName, "") || !within(1, n, backend.MaxCount) {
				return false, errArguments
			}
		}
		additions[i] = backend.Addition{Subject: a.Subject, Day: day, AddID: a.AddID, Counts: a.Counts, PurgeAt: a.PurgeAt.Time()}
	}
	return false, m.AddUsage(ctx, additions)
}

func isSubject(s string) bool {
	return s != "" && len(s) <= backend.MaxSubjectLen && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

func (m meter) usage(ctx context.Context, q usage) ([]tally, error) {
	const most = 366 * 24 * time.Hour
	if !isSubject(q.Subject) || q.To.Time().Sub(q.From.Time()) > most {
		return nil, errArguments
	}
	got, err := m.Usage(ctx, q.Subject, q.From.Time(), q.To.Time())
	if err != nil {
		return nil, err
	}
	tallies := make([]tally, len(got))
	for i, t := range got {
		day, err := envelope.TimeOf(t.Day)
		if err != nil {
			return nil, err
		}
		tallies[i] = tally{Day: day, Counts: t.Counts}
	}
	return tallies, nil
}

func (m meter) purge(ctx context.Context, p purge) (int, error) {
	if p.Limit < 1 {
		return 0, errArguments
	}
	return m.PurgeUsage(ctx, p.Now.Time(), p.Limit)
}
