package audit

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestSlogWritesTheFieldsAsAttributes(t *testing.T) {
	var out bytes.Buffer
	a := Slog(slog.New(slog.NewJSONHandler(&out, nil)), nil)
	require.NoError(t, a.Audit(t.Context(), []keystore.Event{
		event(7, 3),
		{
			Time: noon, Action: keystore.ActionLookup, Outcome: keystore.OutcomeRefused, Reason: keystore.ReasonWrongSecret, KeyID: "k",
			Actor: "bob\n", RequestID: "r-1", Count: 20,
		},
		{Time: noon, Action: keystore.ActionDelete, Outcome: keystore.OutcomeUnknown, Count: 1},
	}))
	require.Equal(t, `{"time":"2026-11-23T12:00:00.13Z","level":"INFO","msg":"audit","action":"revoke","outcome":"done","key_id":"0QWvfqEE7rFhHD1a","owner":"alice","generation":1,"revision":7,"count":1,"detail":"ddd"}
{"time":"2026-11-23T12:00:00.123Z","level":"WARN","msg":"audit","action":"lookup","outcome":"refused","key_id":"k","actor":"bob\n","request_id":"r-1","reason":"wrong_secret","count":20}
{"time":"2026-11-23T12:00:00.123Z","level":"WARN","msg":"audit","action":"delete","outcome":"unknown","count":1}
`, out.String())
}

func TestSlogOptions(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})).With("app", "a")
	for _, e := range []keystore.Event{event(0, 0), {Time: noon, Action: keystore.ActionPurge, Outcome: keystore.OutcomeFailed, Count: 1}} {
		require.NoError(t, Slog(l, &SlogOptions{Message: "keys", Refused: slog.LevelError}).Audit(t.Context(), []keystore.Event{e}))
	}
	require.Equal(t, "time=2026-11-23T12:00:00.123Z level=ERROR msg=keys app=a action=purge outcome=failed count=1\n", out.String())
	require.NotPanics(t, func() { Slog(nil, nil) })
}

// handler fails at the nth record.
type handler struct {
	slog.Handler
	n     int
	taken []string
}

func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	if h.n--; h.n == -1 {
		return errDisk
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "revision" {
			h.taken = append(h.taken, a.Value.String())
		}
		return true
	})
	return nil
}

func TestSlogGoesOnWhereItsHandlerFailed(t *testing.T) {
	for n := range 3 {
		h := &handler{n: n}
		a := Slog(slog.New(h), nil)
		require.ErrorIs(t, a.Audit(t.Context(), events(1, 4, 0)), errDisk)
		require.NoError(t, a.Audit(t.Context(), events(1, 4, 0)))
		require.Equal(t, []string{"1", "2", "3"}, h.taken)
		require.NoError(t, a.Audit(t.Context(), events(1, 4, 0)), "the same events, but other ones")
		require.Len(t, h.taken, 6)
	}
	h := &handler{n: 1}
	a := Slog(slog.New(h), nil)
	require.ErrorIs(t, a.Audit(t.Context(), events(1, 4, 0)), errDisk)
	require.NoError(t, a.Audit(t.Context(), events(4, 7, 0)), "the Keystore has given the first ones up")
	require.Equal(t, []string{"1", "4", "5", "6"}, h.taken)
}
