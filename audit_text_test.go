package keystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestAuditTextHidesWhatLooksLikeAToken(t *testing.T) {
	body := strings.Repeat("aZ9", bodyLen/3)
	require.Len(t, body, bodyLen)
	digest := strings.Repeat("0a1b2c3d", 8)
	for text, want := range map[string]string{
		"":                                    "",
		"alice":                               "alice",
		"\x00\r\n\x1b[0m":                     "\x00\r\n\x1b[0m",
		"ks_" + body:                          "ks[redacted]",
		"Bearer sk_live_" + body + ".":        "Bearer sk_live[redacted].",
		"a_" + body + ",b_" + body:            "a[redacted],b[redacted]",
		"é_" + body:                           "é[redacted]",
		"ks%5f" + body:                        "ks[redacted]",
		"ks%5F" + body + "=":                  "ks[redacted]=",
		"ks_" + body + "mistyped":             "ks[redacted]",
		"ks_" + body[1:]:                      "ks_" + body[1:],
		"user_" + digest:                      "user_" + digest,
		digest:                                digest,
		"ks_" + digest + body:                 "ks[redacted]",
		"a\xffb":                              "a\uFFFDb",
		strings.Repeat("x", 256):              strings.Repeat("x", 256),
		strings.Repeat("x", 257):              strings.Repeat("x", 253) + "…",
		strings.Repeat("é", 200):              strings.Repeat("é", 126) + "…",
		strings.Repeat("y", 240) + "_" + body: strings.Repeat("y", 240) + "[redacted]",
		strings.Repeat("y", 250) + "_" + body: strings.Repeat("y", 250) + "[re…",
	} {
		require.Equal(t, want, auditText(text), "%.80q", text)
	}
}

func TestAuditTimeCanBeEncoded(t *testing.T) {
	for _, at := range []time.Time{{}, time.Now(), testNoon.In(time.FixedZone("", -3600)), time.Unix(-1<<60, 0), time.Unix(1<<60, 0), lastTime, firstTime} {
		e := Event{Time: auditTime(at)}
		text, err := json.Marshal(e)
		require.NoError(t, err)
		var back Event
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, e, back)
		if inRange(at) {
			require.Equal(t, millis(at), e.Time)
		}
	}
}

// A token that is put into any field of an event, or comes in the Auditor's errors
// and panics, is in nothing that is delivered or logged.
func TestTokensReachNeitherEventsNorLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		token, key := f.generate(KeyParams{})
		text, secret := token.Reveal(), secretOf(token)
		a := &spyAuditor{hook: func(_ context.Context, n int, _ []Event) error {
			switch n {
			case 1:
				return fmt.Errorf("refused by https://host/?key=%s", text)
			case 2:
				time.Sleep(auditLogEvery)
				panic(errors.New("got " + text))
			}
			return nil
		}}
		trail, log := trailTo(t, a)
		ctx := WithRequestID(WithActor(t.Context(), "actor "+text), text+" request")
		trail.record(ctx, Event{Action: ActionRevoke, KeyID: text, Owner: text, Detail: "leaked: " + text})
		trail.record(t.Context(), Event{Action: ActionRevoke, KeyID: key.ID, Owner: strings.Repeat("o", 240) + text})
		trail.refused(ctx, &LookupError{Reason: ReasonUnavailable, KeyID: key.ID, Owner: text, err: fmt.Errorf("%w: %s", ErrUnavailable, text)})
		trail.refused(ctx, &LookupError{Reason: ReasonCorrupt, KeyID: text, err: fmt.Errorf("%w: %s", ErrCorrupt, text)})
		time.Sleep(time.Minute)
		require.Zero(t, trail.close())
		require.Len(t, a.events(), 4)
		require.Equal(t, key.ID, a.events()[1].KeyID)
		encoded, err := json.Marshal(a.events())
		require.NoError(t, err)
		require.Contains(t, log.String(), "panicked")
		requireNoLeak(t, secret, "an event", append(reachable(a.events()), string(encoded), fmt.Sprintf("%+v", a.events()))...)
		requireNoLeak(t, secret, "the log", log.String())
	})
}

// Whatever the text, what becomes of it is valid UTF-8, bounded, holds nothing that
// a secret scanner would find, and is left alone the second time.
func FuzzAuditText(f *testing.F) {
	token, err := newToken("ks", "0QWvfqEE7rFhHD1a")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token.Reveal())
	f.Add("%5f" + token.Reveal()[3:] + "\xff")
	f.Add(strings.Repeat("_", 300))
	scanner := regexp.MustCompile(fmt.Sprintf(`_[0-9A-Za-z]{%d}`, bodyLen))
	f.Fuzz(func(t *testing.T, text string) {
		clean := auditText(text)
		require.True(t, utf8.ValidString(clean))
		require.LessOrEqual(t, len(clean), maxAuditText)
		for _, found := range scanner.FindAllString(clean, -1) {
			require.Empty(t, strings.Trim(found, "_0123456789abcdef"))
		}
		require.Equal(t, clean, auditText(clean))
	})
}
