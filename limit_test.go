package keystore

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]Limit{
		"day 100/24h":                     {"day", 100, 24 * time.Hour},
		"day 100/1d":                      {"day", 100, 24 * time.Hour},
		"burst 10/1s":                     {"burst", 10, time.Second},
		"a-b_9 999999999999999/8784h":     {"a-b_9", MaxRequests, 366 * 24 * time.Hour},
		"x 1/1h30m":                       {"x", 1, 90 * time.Minute},
		"x 1/90s":                         {"x", 1, 90 * time.Second},
		strings.Repeat("a", 32) + " 1/1m": {strings.Repeat("a", 32), 1, time.Minute},
	} {
		got, err := ParseLimit(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
		again, err := ParseLimit(got.String())
		require.NoError(t, err)
		require.Equal(t, want, again)
	}
	for want, l := range map[string]Limit{
		"day 100/24h": {"day", 100, 24 * time.Hour}, "x 1/1h30m": {"x", 1, 90 * time.Minute}, "x 1/1m30s": {"x", 1, 90 * time.Second},
		"x 1/10s": {"x", 1, 10 * time.Second}, "x 1/10m": {"x", 1, 10 * time.Minute}, "x 1/1h0m1s": {"x", 1, time.Hour + time.Second},
	} {
		require.Equal(t, want, l.String())
	}
	for _, text := range badLimits {
		_, err := ParseLimit(text)
		requireField(t, err, "limit")
	}
}

var badLimits = []string{
	"", " ", "day", "day 100", "day 100/", "day /24h", " 100/24h", "100/24h", "day  100/24h", "day 100 /24h", "day 100/24h ",
	"Day 100/24h", "dáy 100/24h", "-day 100/24h", "_day 1/1s", "da.y 1/1s", strings.Repeat("a", 33) + " 1/1s",
	"day 0/24h", "day -1/24h", "day +1/24h", "day 1e3/24h", "day 1000000000000000/24h", "day 99999999999999999999/24h", "day 0x10/24h", "day 1_000/24h",
	"day 1/0s", "day 1/-1h", "day 1/500ms", "day 1/1.5s", "day 1/367d", "day 1/8785h", "day 1/99999999d", "day 1/-1d", "day 1/d", "day 1/24", "day 1/24h/1h",
}

// FuzzParseLimit: what parses is a limit, and is written as what parses to the
// same; and JSON keeps it.
func FuzzParseLimit(f *testing.F) {
	for _, text := range append([]string{"day 100/24h", "burst 10/1s", "a-b_9 999999999999999/366d", "x 1/1h0m1s", "x 00000000000000000001/1s"}, badLimits...) {
		f.Add(text)
	}
	grammar := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31} [0-9]+/[0-9a-zµμ.+]+$`)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLimit(text)
		if err != nil {
			requireField(t, err, "limit")
			require.Equal(t, Limit{}, l)
			return
		}
		require.Regexp(t, grammar, text)
		limits, err := newLimits("limits", []Limit{l})
		require.NoError(t, err)
		again, err := ParseLimit(l.String())
		require.NoError(t, err)
		require.Equal(t, l, again)
		written, err := json.Marshal(limits)
		require.NoError(t, err)
		var read []Limit
		require.NoError(t, json.Unmarshal(written, &read))
		require.Equal(t, []Limit{l}, read)
	})
}

func TestLimitInJSON(t *testing.T) {
	written, err := json.Marshal(Limit{"day", 100, 24 * time.Hour})
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"day","requests":100,"window_seconds":86400}`, string(written))
	for _, text := range []string{
		`{}`, `null`, `{"name":"day"}`, `{"name":"day","requests":0,"window_seconds":1}`, `{"name":"day","requests":1,"window_seconds":0}`,
		`{"name":"Day","requests":1,"window_seconds":1}`, `{"name":"day","requests":1,"window_seconds":-86400}`,
		fmt.Sprintf(`{"name":"day","requests":1,"window_seconds":%d}`, int64(math.MaxInt64)),
		fmt.Sprintf(`{"name":"day","requests":1,"window_seconds":%d}`, int64(math.MinInt64)),
		fmt.Sprintf(`{"name":"day","requests":1,"window_seconds":%d}`, int64(1)<<55+1), // 2^55 s and 1 s overflow to a valid window
		`{"name":"day","requests":1.5,"window_seconds":1}`, `{"name":"day","requests":1000000000000000,"window_seconds":1}`, `"day 100/24h"`, `[]`,
	} {
		var l Limit
		require.Error(t, json.Unmarshal([]byte(text), &l), text)
		require.Equal(t, Limit{}, l)
	}
	key := Key{Plan: "pro", Limits: Limits{[]Limit{perSecond, perDay}}}
	written, err = json.Marshal(key)
	require.NoError(t, err)
	require.Contains(t, string(written), `"plan":"pro","limits":[{"name":"burst","requests":10,"window_seconds":1},{"name":"day"`)
	written, err = json.Marshal(Key{})
	require.NoError(t, err)
	require.NotContains(t, string(written), "limits", "JSON of keys without limits is what it was")
	written, err = json.Marshal(Limits{})
	require.NoError(t, err)
	require.Equal(t, "[]", string(written))
}

func TestLimitsOfAKey(t *testing.T) {
	given := []Limit{perDay, perSecond}
	limits, err := newLimits("limits", given)
	require.NoError(t, err)
	given[0].Requests = 7
	require.Equal(t, []Limit{perSecond, perDay}, slices.Collect(limits.All()), "by name, and immutable")
	require.Equal(t, "burst 10/1s, day 100/24h", limits.String())
	got, found := limits.Get("day")
	require.True(t, found)
	require.Equal(t, perDay, got)
	_, found = limits.Get("hour")
	require.False(t, found)

	f := newFixture(t, func(o *Options) { o.Plans = map[string][]Limit{"free": {perDay, perSecond}} })
	many := func(n int) (list []Limit) {
		for i := range n {
			list = append(list, Limit{fmt.Sprint("l", i), 1, time.Second})
		}
		return list
	}
	for _, bad := range [][]Limit{{{}}, {perDay, perDay}, {perDay, {"day", 1, time.Second}}, many(9), {{"day", 100, 24*time.Hour + time.Millisecond}}, {{"day", 1 << 62, time.Hour}}} {
		_, _, err := f.Generate(t.Context(), KeyParams{Owner: "alice", Limits: bad})
		requireField(t, err, "limits")
		_, err = New(f.store, &Options{Plans: map[string][]Limit{"free": bad}})
		requireField(t, err, `Plans["free"]`)
	}
	for _, name := range []string{"", "Free", "a b", strings.Repeat("a", 33), "-a", "ks_live_secret\n"} {
		_, err := New(f.store, &Options{Plans: map[string][]Limit{name: {perDay}}})
		requireField(t, err, "Plans")
	}
	_, _, err = f.Generate(t.Context(), KeyParams{Owner: "alice", Plan: "free", Limits: many(6)})
	require.NoError(t, err)
	_, _, err = f.Generate(t.Context(), KeyParams{Owner: "alice", Plan: "free", Limits: many(7)})
	requireField(t, err, "limits")
}

// A plan may have grown since the key got limits of its own. What then cannot be
// counted is refused, not ignored.
func TestPlanThatGrewTooLarge(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Plans = map[string][]Limit{"free": {perDay}} })
	var own []Limit
	for i := range 7 {
		own = append(own, Limit{fmt.Sprint("l", i), 1, time.Second})
	}
	token, key := f.generate(KeyParams{Plan: "free", Limits: own})
	f.pass(token, 1)
	other := f.another(func(o *Options) {
		o.Plans, o.LimitFailure = map[string][]Limit{"free": {perDay, perSecond}}, LimitsOpen
	})
	_, err := other.Lookup(t.Context(), token.Reveal())
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = other.LimitsOf(t.Context(), key.ID)
	require.ErrorIs(t, err, ErrUnavailable)
}
