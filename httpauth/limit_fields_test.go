package httpauth

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

func TestWhichFieldsAreSent(t *testing.T) {
	const policy, legacy = "Ratelimit-Policy", "X-Ratelimit-Limit"
	for _, c := range []struct {
		options                                             Options
		policyWhilePassing, legacyWhilePassing, legacyOn429 bool
	}{
		{options: Options{}},
		{options: Options{RateLimitFields: true}, policyWhilePassing: true},
		{options: Options{LegacyRateLimitFields: true}, legacyOn429: true},
		{options: Options{RateLimitFields: true, LegacyRateLimitFields: true}, policyWhilePassing: true, legacyWhilePassing: true, legacyOn429: true},
	} {
		s := newService(t, &c.options)
		token, _ := s.limited("a", "day 1/24h")
		h := s.Require("a")(greet)
		passed, refused := with(h, token), with(h, token)
		require.Equal(t, []int{200, 429}, []int{passed.Code, refused.Code})
		assert.Equal(t, c.policyWhilePassing, passed.Header()[policy] != nil)
		assert.Equal(t, c.legacyWhilePassing, passed.Header()[legacy] != nil)
		assert.NotEmpty(t, refused.Header()[policy])
		assert.Equal(t, c.legacyOn429, refused.Header()[legacy] != nil)

		unlimited := s.key("a")
		assert.Empty(t, fields(with(h, unlimited)), "a key without limits")
		assert.Empty(t, fields(with(h, otherToken)))
		assert.Empty(t, fields(with(s.Require("b")(greet), token)), "403")
	}
}

// The older fields have room for one limit.
func TestLegacyFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Options{RateLimitFields: true, LegacyRateLimitFields: true, Cost: func(r *http.Request) int64 {
			n, _ := strconv.ParseInt(r.Header.Get("Cost"), 10, 64)
			return n
		}}
		s := newService(t, o)
		token, _ := s.limited("", "a 10/1m", "b 20/1h", "c 100/24h")
		h := s.Require()(greet)
		ask := func(cost string, status int, limit, remaining, reset string) {
			t.Helper()
			w := serve(h, newRequest("/", "X-API-Key: "+token, "Cost: "+cost))
			require.Equal(t, status, w.Code)
			assert.Equal(t, []string{limit, remaining, reset}, []string{w.Header().Get("X-RateLimit-Limit"), w.Header().Get("X-RateLimit-Remaining"), w.Header().Get("X-RateLimit-Reset")})
		}
		time.Sleep(500 * time.Millisecond)
		ask("1", 200, "10", "9", "60") // 90 % of a, 95 % of b
		ask("8", 200, "10", "1", "60")
		ask("2", 429, "10", "1", "60")
		time.Sleep(time.Minute)
		ask("1", 200, "20", "10", "3540") // half of b
		ask("8", 200, "20", "2", "3540")  // a tenth of both; b takes longer
		ask("3", 429, "20", "2", "3540")
		time.Sleep(time.Minute)
		ask("3", 429, "20", "2", "3480") // b alone
		time.Sleep(time.Hour)
		ask("6", 200, "10", "4", "60")
		time.Sleep(time.Minute)
		ask("9", 200, "10", "1", "60")   // a tenth of a, a quarter of b
		ask("6", 429, "20", "5", "3420") // both refuse it; b takes longer

		// A limit that leaves just enough is not why it is refused, however little that is.
		token, _ = s.limited("", "a 10/1m", "c 101/24h")
		for range 9 {
			ask("10", 200, "10", "0", "60")
			time.Sleep(time.Minute)
		}
		ask("6", 200, "101", "5", "82080")
		ask("5", 429, "10", "4", "60")
	})
}

// A refusal is of one moment, however long the store took.
func TestFieldsOfASlowRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at the midnight of a day
		s := newService(t, nil)
		slow := faulty.New(s.store, func(c faulty.Call) faulty.Fault {
			if c.Method == faulty.Spend {
				time.Sleep(700 * time.Millisecond)
			}
			return nil
		})
		s.ks = newKeystore(t, slow)
		s.Auth = s.another(&Options{LegacyRateLimitFields: true})
		token, _ := s.limited("", "day 1/24h", "hour 5/1h")
		h := s.Require()(greet)
		require.Equal(t, 200, with(h, token).Code)
		w := with(h, token)
		require.Equal(t, 429, w.Code)
		assert.Equal(t, "86400", w.Header().Get("Retry-After"))
		assert.Equal(t, `"day";r=0;t=86400, "hour";r=4;t=3600`, w.Header().Get("RateLimit"))
		assert.Equal(t, "86400", w.Header().Get("X-RateLimit-Reset"))
	})
}

func TestTightest(t *testing.T) {
	begin := time.Unix(0, 0)
	state := func(name string, requests, remaining int64, reset int) keystore.LimitState {
		return keystore.LimitState{Limit: keystore.Limit{Name: name, Requests: requests}, Remaining: remaining, Reset: begin.Add(time.Duration(reset) * time.Second)}
	}
	for _, c := range []struct {
		want   string
		states []keystore.LimitState
	}{
		{"a", []keystore.LimitState{state("a", 1, 1, 1)}},
		{"b", []keystore.LimitState{state("a", 10, 5, 1), state("b", 100, 49, 1)}},
		{"a", []keystore.LimitState{state("a", 10, 5, 1), state("b", 100, 51, 9)}},
		{"b", []keystore.LimitState{state("a", 3, 1, 1), state("b", 6, 2, 2)}},
		{"a", []keystore.LimitState{state("a", 3, 1, 2), state("b", 6, 2, 1)}},
		{"b", []keystore.LimitState{state("a", keystore.MaxRequests, keystore.MaxRequests, 9), state("b", keystore.MaxRequests, keystore.MaxRequests-1, 1)}},
		{"c", []keystore.LimitState{state("a", 10, 0, 1), state("b", 10, 0, 2), state("c", 1000, 0, 3)}},
	} {
		assert.Equal(t, c.want, tightest(c.states).Name, "%v", c.states)
	}
}

// Whatever the limits, the fields are lists of structured fields as RFC 9651,
// section 3, has them, and say what the limits are.
func TestFieldsAreStructured(t *testing.T) {
	item := regexp.MustCompile(`^"([\x20-\x21\x23-\x5b\x5d-\x7e]*)";[qr]=(0|[1-9][0-9]{0,14});[wt]=(0|[1-9][0-9]{0,14})$`)
	now := time.Unix(1_700_000_000, 0).UTC()
	var states []keystore.LimitState
	for i, name := range []string{"0", "a_-", strings.Repeat("z", 32), "day", "hour", "b", "c", "d"} {
		states = append(states, keystore.LimitState{
			Limit:     keystore.Limit{Name: name, Requests: keystore.MaxRequests - int64(i), Window: time.Duration(366-i) * 24 * time.Hour},
			Remaining: int64(i) * (keystore.MaxRequests / 10), Reset: now.Add(time.Duration(i-1) * 50 * 24 * time.Hour),
		})
	}
	for field, numbers := range map[string]func(keystore.LimitState) (int64, int64){
		policies(states):      func(l keystore.LimitState) (int64, int64) { return l.Requests, int64(l.Window.Seconds()) },
		standing(states, now): func(l keystore.LimitState) (int64, int64) { return l.Remaining, max(0, l.Reset.Unix()-now.Unix()) },
	} {
		items := strings.Split(field, ", ")
		require.Len(t, items, len(states))
		for i, text := range items {
			found := item.FindStringSubmatch(text)
			require.NotNil(t, found, "%q", text)
			a, b := numbers(states[i])
			assert.Equal(t, []string{states[i].Name, strconv.FormatInt(a, 10), strconv.FormatInt(b, 10)}, found[1:])
		}
	}
}
