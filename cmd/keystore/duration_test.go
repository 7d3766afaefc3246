package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0d": 0, "90d": 90 * day, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "007d": 7 * day, "1.5h": 90 * time.Minute,
		"106751d": 106751 * day, "106751d23h47m16s": 106751*day + 23*time.Hour + 47*time.Minute + 16*time.Second,
	} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "d", "90", "-1h", "+1h", "-1d", "1.5d", "1d-1h", "1d+1h", "1d1d", "1d ", " 1d", "106752d", "106751d24h", "99999999999999999999d",
		"9223372036854775808ns", "1d2562047h47m", "1x", "hd", "１d",
	} {
		_, err := parseDuration(text)
		require.ErrorIs(t, err, notDuration, text)
	}
	_, err := parsePositive("0d")
	require.Error(t, err)
}

func TestParseTime(t *testing.T) {
	at, err := parseTime("2027-01-31T12:00:00+01:00")
	require.NoError(t, err)
	require.Equal(t, time.Date(2027, 1, 31, 11, 0, 0, 0, time.UTC), at.UTC())
	for _, text := range []string{"", "tomorrow", "2027-01-31", "0001-01-01T00:00:00Z", "0001-01-01T01:00:00+01:00"} {
		_, err := parseTime(text)
		require.ErrorIs(t, err, notTime, text)
	}
}

func FuzzParseDuration(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			require.Equal(t, notDuration, err) // in words that hold nothing of it
			require.Zero(t, d)
			return
		}
		require.GreaterOrEqual(t, d, time.Duration(0))
		again, err := parseDuration(d.String())
		require.NoError(t, err)
		require.Equal(t, d, again)
	})
}
