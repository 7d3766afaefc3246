package keystore

import (
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/keystore/backend"
)

// The bounds of limits.
const (
	// MaxRequests is the most that one limit may allow: the largest integer of a
	// structured field of HTTP (RFC 9651, section 3.3.1), in which limits are told.
	MaxRequests = 999_999_999_999_999
	// MaxCost is the most that one lookup may cost.
	MaxCost = 1_000_000_000

	maxLimits     = backend.MaxWindows // of a key: its own and those of its plan together
	maxLimitName  = backend.MaxWindowName
	maxLimitDays  = 366
	limitNameText = "a name is [a-z0-9][a-z0-9_-]*, 1 to 32 characters"
)

// Limit allows a key so many requests in each window of time, for example 100 a
// day. A request counts as many as it costs, 1 unless LookupParams says otherwise.
//
// Windows are fixed: they begin at the multiples of their length since the
// beginning of 1970, in UTC, so a window of 24 hours is a UTC day. Within a window
// at most Requests are let through, whichever processes and secrets of the key ask.
// Around the edge of two windows a caller can spend both budgets in a short time: up
// to twice Requests in less than the length of a window. Where that matters, add
// a limit with a shorter window.
type Limit struct {
	Name     string        // [a-z0-9][a-z0-9_-]*, 1 to 32 characters
	Requests int64         // 1 to MaxRequests
	Window   time.Duration // whole seconds, 1 s to 366 days
}

// String returns the limit as ParseLimit reads it: "day 100/24h".
func (l Limit) String() string {
	return l.Name + " " + strconv.FormatInt(l.Requests, 10) + "/" + windowText(l.Window)
}

// windowText is the shortest text of a duration in Go's units.
func windowText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// ParseLimit reads a limit in the form "name requests/window": "day 100/24h",
// "burst 10/1s". The window is a duration of Go, or a number of days: "day 100/1d".
// The error is ErrInvalid.
func ParseLimit(text string) (Limit, error) {
	name, rest, spaced := strings.Cut(text, " ")
	requests, window, slashed := strings.Cut(rest, "/")
	if !spaced || !slashed {
		return Limit{}, invalid("limit", `it is not of the form "name requests/window", as "day 100/24h" is`)
	}
	l := Limit{Name: name}
	var err error
	if l.Requests, err = strconv.ParseInt(requests, 10, 64); err != nil || requests[0] == '+' {
		return Limit{}, invalid("limit", "the number of requests is not one from 1 to %d", int64(MaxRequests))
	}
	if l.Window, err = parseWindow(window); err != nil {
		return Limit{}, invalid("limit", `the window is not a duration like "24h", "90s" or "1d"`)
	}
	if problem := l.problem(); problem != "" {
		return Limit{}, invalid("limit", "%s", problem)
	}
	return l, nil
}

func parseWindow(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// problem says what is wrong with the limit, "" if nothing is.
func (l Limit) problem() string {
	switch {
	case !validLimitName(l.Name):
		return limitNameText
	case l.Requests < 1 || l.Requests > MaxRequests:
		return "the number of requests is not one from 1 to " + strconv.FormatInt(MaxRequests, 10)
	case l.Window%time.Second != 0 || l.Window < time.Second || l.Window > maxLimitDays*24*time.Hour:
		return "the window is not whole seconds from 1s to " + strconv.Itoa(maxLimitDays) + " days"
	}
	return ""
}

// validLimitName holds for the names of plans too.
func validLimitName(name string) bool {
	if name == "" || len(name) > maxLimitName || name[0] == '-' || name[0] == '_' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// limitJSON is a limit in JSON. Seconds are what other languages read without a
// parser of their own.
type limitJSON struct {
	Name     string `json:"name"`
	Requests int64  `json:"requests"`
	Seconds  int64  `json:"window_seconds"`
}

// MarshalJSON returns an object: {"name":"day","requests":100,"window_seconds":86400}.
func (l Limit) MarshalJSON() ([]byte, error) {
	return json.Marshal(l.json())
}

func (l Limit) json() limitJSON {
	return limitJSON{l.Name, l.Requests, int64(l.Window / time.Second)}
}

// UnmarshalJSON reads what MarshalJSON writes. The error is ErrInvalid, or one of
// package json.
func (l *Limit) UnmarshalJSON(text []byte) error {
	var from limitJSON
	if err := json.Unmarshal(text, &from); err != nil {
		return err
	}
	read, err := from.limit()
	if err == nil {
		*l = read
	}
	return err
}

func (from limitJSON) limit() (Limit, error) {
	if from.Seconds < 0 || from.Seconds > maxLimitDays*24*3600 { // before it overflows
		from.Seconds = 0
	}
	l := Limit{from.Name, from.Requests, time.Duration(from.Seconds) * time.Second}
	if problem := l.problem(); problem != "" {
		return Limit{}, invalid("limit", "%s", problem)
	}
	return l, nil
}

// Limits is the immutable set of limits that a key has of its own, by name. The
// zero value is the empty set.
type Limits struct{ list []Limit } // ascending by name

// Len returns the number of limits.
func (l Limits) Len() int { return len(l.list) }

// All yields the limits in byte order of their names.
func (l Limits) All() iter.Seq[Limit] { return slices.Values(l.list) }

// Get returns the limit with a name, and whether there is one.
func (l Limits) Get(name string) (Limit, bool) {
	i, ok := slices.BinarySearchFunc(l.list, name, func(l Limit, name string) int { return strings.Compare(l.Name, name) })
	if !ok {
		return Limit{}, false
	}
	return l.list[i], true
}

// MarshalJSON returns an array of limits, never null.
func (l Limits) MarshalJSON() ([]byte, error) {
	if l.list == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(l.list)
}

// String returns the limits separated by commas: "burst 10/1s, day 100/24h".
func (l Limits) String() string {
	texts := make([]string, len(l.list))
	for i, limit := range l.list {
		texts[i] = limit.String()
	}
	return strings.Join(texts, ", ")
}

// newLimits checks a set of limits. field names it in the error.
func newLimits(field string, from []Limit) (Limits, error) {
	if len(from) > maxLimits {
		return Limits{}, invalid(field, "%d are more than %d", len(from), maxLimits)
	}
	if len(from) == 0 {
		return Limits{}, nil
	}
	list := slices.Clone(from)
	slices.SortFunc(list, func(a, b Limit) int { return strings.Compare(a.Name, b.Name) })
	for i, l := range list {
		if problem := l.problem(); problem != "" {
			return Limits{}, invalid(field, "%s", problem)
		}
		if i > 0 && list[i-1].Name == l.Name {
			return Limits{}, invalid(field, "two of them are called %q", l.Name)
		}
	}
	return Limits{list}, nil
}
