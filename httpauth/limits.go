package httpauth

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"example.com/keystore"
)

// quotaExceeded is the type of the problem that the draft of the RateLimit fields
// defines, section 5.1, with the member violated-policies.
const quotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// SetLimitFields sets the fields that say how the limits of a key stand, if
// Options.RateLimitFields is on and the key has limits. It is for who uses Check;
// Require does so itself. Refuse sets them in any case.
func (a *Auth) SetLimitFields(h http.Header, found keystore.Result) {
	if a.opts.RateLimitFields && len(found.Limits) > 0 {
		a.setLimitFields(h, found.Limits, tightest(found.Limits), a.ks.Now())
	}
}

// setLimitFields sets RateLimit and RateLimit-Policy for all limits, and the older
// fields, which have room for one, for that one, as of now.
func (a *Auth) setLimitFields(h http.Header, all []keystore.LimitState, one keystore.LimitState, now time.Time) {
	h.Set("RateLimit-Policy", policies(all))
	h.Set("RateLimit", standing(all, now))
	if !a.opts.LegacyRateLimitFields {
		return
	}
	h.Set("X-RateLimit-Limit", strconv.FormatInt(one.Requests, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(one.Remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(secondsUntil(one.Reset, now), 10))
}

// policies is the value of RateLimit-Policy, a list of structured fields (RFC 9651,
// section 3.1): "burst";q=10;w=1, "day";q=100;w=86400. Names of limits need no
// escapes in a string, and their numbers are integers there.
func policies(limits []keystore.LimitState) string {
	var b []byte
	for i, l := range limits {
		b = appendName(b, i, l.Name)
		b = strconv.AppendInt(append(b, ";q="...), l.Requests, 10)
		b = strconv.AppendInt(append(b, ";w="...), int64(l.Window/time.Second), 10)
	}
	return string(b)
}

// standing is the value of RateLimit: "burst";r=9;t=1, "day";r=42;t=3600.
func standing(limits []keystore.LimitState, now time.Time) string {
	var b []byte
	for i, l := range limits {
		b = appendName(b, i, l.Name)
		b = strconv.AppendInt(append(b, ";r="...), l.Remaining, 10)
		b = strconv.AppendInt(append(b, ";t="...), secondsUntil(l.Reset, now), 10)
	}
	return string(b)
}

func appendName(b []byte, i int, name string) []byte {
	if i > 0 {
		b = append(b, ", "...)
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"')
}

// secondsUntil is rounded up: who waits so long does not come too early.
func secondsUntil(t, now time.Time) int64 { return max(wholeSeconds(t.Sub(now)), 0) }

func wholeSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// tightest returns the limit of which the smallest part is left; of several, the one
// whose window ends last.
func tightest(limits []keystore.LimitState) keystore.LimitState {
	left := func(l keystore.LimitState) float64 { return float64(l.Remaining) / float64(l.Requests) }
	least := limits[0]
	for _, l := range limits[1:] {
		if left(l) < left(least) || left(l) == left(least) && l.Reset.After(least.Reset) {
			least = l
		}
	}
	return least
}

// awaited returns the limit that Retry-After waits for: of those that refused the
// request, the one whose window ends last. The older fields of a refusal are its, or
// they would tell a client to come back while another limit still refuses it.
func awaited(e *keystore.RateLimitError) (last keystore.LimitState) {
	for _, l := range e.Limits {
		if l.Remaining < e.Cost && l.Reset.After(last.Reset) {
			last = l
		}
	}
	return last
}
