package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

func chartOf(columns, taken int, all ...keystore.Usage) (*chart, bool) {
	c := &chart{allowed: "#", refused: "-", columns: columns}
	return c, c.fit(taken, all)
}

func TestBars(t *testing.T) {
	most := keystore.Usage{Allowed: 30, Limited: 10}
	c, fits := chartOf(63, 40, most)
	require.True(t, fits)
	for want, u := range map[string]keystore.Usage{
		"":                     {},
		"#":                    {Allowed: 1},
		"-":                    {Limited: 1},
		"#-":                   {Allowed: 1, Limited: 2, MissingScope: 1},
		"#####":                {Allowed: 10},
		"##########":           {Allowed: 20},
		"-----":                {MissingScope: 10},
		"###############-----": most,
		"###################-": {Allowed: 39, Limited: 1},
		"#-------------------": {Allowed: 1, Limited: 39},
	} {
		require.Equal(t, want, c.bar(u), "%+v", u)
	}
	c, _ = chartOf(1000, 40, most)
	require.Len(t, c.bar(most), maxBar)
}

// TestNoBarIsTooLong for any numbers and widths.
func TestNoBarIsTooLong(t *testing.T) {
	numbers := []uint64{0, 1, 2, 3, 100, 1 << 20, 1<<53 + 1, 1 << 62, math.MaxUint64}
	for columns := range 130 {
		for _, most := range numbers[1:] {
			c, fits := chartOf(columns, 44, keystore.Usage{Allowed: most, Limited: most, MissingScope: most})
			if !fits {
				require.Less(t, columns, 44+3+20)
				continue
			}
			for _, allowed := range numbers {
				for _, limited := range numbers {
					if allowed > most || limited > most {
						continue
					}
					bar := c.bar(keystore.Usage{Allowed: allowed, Limited: limited})
					require.Equal(t, allowed > 0 || limited > 0, bar != "")
					require.Less(t, 44+2+len(bar), columns)
					require.LessOrEqual(t, len(bar), maxBar)
					require.Equal(t, bar, strings.Repeat("#", strings.Count(bar, "#"))+strings.Repeat("-", strings.Count(bar, "-")))
				}
			}
		}
	}
}

func TestChartNeedsRoom(t *testing.T) {
	some := keystore.Usage{Allowed: 1}
	_, fits := chartOf(80, 57, some)
	require.True(t, fits)
	_, fits = chartOf(80, 58, some)
	require.False(t, fits)
	_, fits = chartOf(1, 80, some)
	require.False(t, fits)
	_, fits = chartOf(80, 40)
	require.False(t, fits, "there is nothing to draw")
}

func TestShowsUnicode(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{map[string]string{"LANG": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.utf8"}, true},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LC_ALL": "C", "LANG": "en_US.UTF-8"}, false},
		{map[string]string{"LC_CTYPE": "C.UTF-8", "LANG": "C"}, true},
	} {
		a := &app{system: system{getenv: func(name string) string { return c.env[name] }}}
		require.Equal(t, c.want, a.showsUnicode(), c.env)
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 26, 15, 48, 54, 7, time.FixedZone("", 3600))
	for _, c := range []struct {
		text string
		unit time.Duration
		want string
	}{
		{"7d", day, "2026-11-19T00:00:00Z"},
		{"0", day, "2026-11-26T00:00:00Z"},
		{"1h30m", time.Hour, "2026-11-26T13:00:00Z"},
		{"2026-11-01T12:34:56+02:00", day, "2026-11-01T10:34:56Z"}, // as it stands
	} {
		m, err := parseMoment(c.text)
		require.NoError(t, err)
		require.Equal(t, c.want, m.on(now, c.unit).UTC().Format(time.RFC3339Nano), c.text)
	}
	for _, text := range []string{"", "-7d", "2026-11-01", "now", "0001-01-01T00:00:00Z", "7d\x1b"} {
		_, err := parseMoment(text)
		require.Error(t, err, text)
		require.True(t, plain(err.Error()))
	}
}

// TestUsageWithLargeNumbers has columns as wide as they need, and no chart then.
func TestUsageWithLargeNumbers(t *testing.T) {
	rows := alignRight([][]string{{"DAY", "ALLOWED", "COST"}, usageRow("2026-11-26", keystore.Usage{Allowed: math.MaxUint64})[:3]})
	require.Equal(t, []string{"DAY                      ALLOWED  COST", "2026-11-26  18446744073709551615     0"}, rows)
}

// TestUsageThatFailsMidway shows what it read as JSON and CSV, and fails; a table
// of a part would pass for the whole.
func TestUsageThatFailsMidway(t *testing.T) {
	u := newTool(t, newStore(t, func(c faulty.Call) faulty.Fault {
		if c.Method == faulty.Usage && c.N > 1 {
			return faulty.Refuse(errors.New("down"))
		}
		return nil
	}))
	stores.Lock()
	now := time.Now().Add(-300 * day)
	ks, err := keystore.New(stores.byName[t.Name()].store.Open(), &keystore.Options{Now: func() time.Time { return now }})
	stores.Unlock()
	require.NoError(t, err)
	token, key, err := ks.Generate(t.Context(), keyParams("alice"))
	require.NoError(t, err)
	_, err = ks.Lookup(t.Context(), token.Reveal())
	require.NoError(t, err)
	require.NoError(t, ks.Close())
	for flag, lines := range map[string]int{"--json": 1, "--csv": 2, "--by=hour": 0} {
		r := u.run("usage", key.ID, "--from", "301d", flag)
		require.Equal(t, int(statusUnavailable), r.code, r.errOut)
		require.Equal(t, lines, strings.Count(r.out, "\n"), r.out)
	}
}

func TestTableOfUsageIsPlain(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	for _, owner := range nasty {
		if !utf8.ValidString(owner) || owner == "" {
			continue
		}
		ks := keystoreOf(t)
		token, key, err := ks.Generate(t.Context(), keyParams(owner))
		require.NoError(t, err)
		_, err = ks.Lookup(t.Context(), token.Reveal())
		require.NoError(t, err)
		require.NoError(t, ks.Close())
		out := u.must(t, "usage", "--owner", owner)
		require.Equal(t, out, u.must(t, "usage", key.ID))
		for line := range strings.Lines(out) {
			require.True(t, plain(strings.TrimSuffix(line, "\n")), "%q", line)
		}
	}
}
