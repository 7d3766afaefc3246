package main

import (
	"math"
	"strings"
	"time"
)

const day = 24 * time.Hour

const (
	notDuration = problem("a duration is like 90m, 1h30m or 90d, up to 106751 days, and not negative")
	notTime     = problem("a time is like 2027-01-31T12:00:00Z, from 1970 to 8888")
)

// parseDuration reads a duration of Go's, with whole days before it: 90d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return parseGoDuration(text)
	}
	total, err := parseDays(days)
	if err != nil || rest == "" {
		return total, err
	}
	d, err := parseGoDuration(rest)
	if err != nil || d > math.MaxInt64-total {
		return 0, notDuration
	}
	return total + d, nil
}

func parseDays(text string) (time.Duration, error) {
	const most = math.MaxInt64 / day
	if text == "" {
		return 0, notDuration
	}
	n := time.Duration(0)
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, notDuration
		}
		if n = n*10 + time.Duration(c-'0'); n > most {
			return 0, notDuration
		}
	}
	return n * day, nil
}

func parseGoDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || text[0] == '-' || text[0] == '+' {
		return 0, notDuration
	}
	return d, nil
}

// parsePositive is parseDuration for what zero would silently switch off.
func parsePositive(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d == 0 {
		return 0, problem("it must be more than 0")
	}
	return d, err
}

// parseTime reads a time. keystore takes the zero time for "none", which nobody
// means who writes it out.
func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.IsZero() {
		return time.Time{}, notTime
	}
	return t, nil
}
