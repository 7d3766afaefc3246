package httpauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// from asks a handler with a token, from an address.
func from(h http.Handler, peer, token string) *http.Request {
	r := newRequest("/", "Authorization: Bearer "+token)
	r.RemoteAddr = peer + ":1"
	return r
}

// status of a request with a token from an address.
func status(h http.Handler, peer, token string) int { return serve(h, from(h, peer, token)).Code }

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, &Options{FailuresPerSecond: 0.5, FailureBurst: 3}, uncached)
		h := s.Require()(greet)
		token := s.key()
		for i := range 3 {
			require.Equal(t, 401, status(h, "192.0.2.1", otherToken), i)
		}
		calls := s.calls()
		for _, text := range []string{otherToken, token, "", "a,b"} { // whatever it carries
			w := serve(h, from(h, "192.0.2.1", text))
			assert.Equal(t, 429, w.Code)
			assert.Equal(t, "throttled", codeOf(t, w))
			assert.Equal(t, http.Header{"Retry-After": {"2"}, "Cache-Control": {"no-store"}, "Content-Type": {"application/problem+json"}}, w.Header())
		}
		assert.Equal(t, calls, s.calls(), "a request that is throttled reached the store")
		assert.Contains(t, s.log.String(), "192.0.2.1")
		assert.Equal(t, 200, status(h, "192.0.2.2", token), "another address is not concerned")

		time.Sleep(1999 * time.Millisecond)
		w := serve(h, from(h, "192.0.2.1", token))
		assert.Equal(t, 429, w.Code)
		assert.Equal(t, "1", w.Header().Get("Retry-After"), "whole seconds, at least one")
		time.Sleep(time.Millisecond) // the wait that was told first has passed
		assert.Equal(t, 200, status(h, "192.0.2.1", token))
		assert.Equal(t, 401, status(h, "192.0.2.1", otherToken))
		assert.Equal(t, 429, status(h, "192.0.2.1", otherToken), "one attempt had come back")
		assert.Equal(t, 1, strings.Count(s.log.String(), "throttled"), "said once")

		time.Sleep(time.Hour)
		for range 3 {
			require.Equal(t, 401, status(h, "192.0.2.1", otherToken))
		}
		assert.Equal(t, 429, status(h, "192.0.2.1", otherToken), "no more comes back than the burst")
	})
}

func TestOnlyFailedAttemptsCount(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: 1e-9, FailureBurst: 1}, uncached)
	h := s.Require("a")(greet)
	good, narrow := s.key("a"), s.key("b")
	for range 20 {
		require.Equal(t, 200, status(h, "192.0.2.1", good))
		require.Equal(t, 403, status(h, "192.0.2.1", narrow))
		require.Equal(t, 400, status(h, "192.0.2.1", ""))
		require.Equal(t, 400, status(h, "192.0.2.1", "a,b"))
		require.Equal(t, 401, serve(h, newRequest("/")).Code, "without a credential nothing was tried")
		s.set(errors.New("connection refused"), 0)
		require.Equal(t, 503, status(h, "192.0.2.1", otherToken))
		s.set(nil, 0)
	}
	require.Equal(t, 401, status(h, "192.0.2.1", otherToken))
	require.Equal(t, 429, status(h, "192.0.2.1", otherToken))
}

func TestNeverByKey(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: 1e-9, FailureBurst: 1}, uncached)
	h := s.Require()(greet)
	token := s.key()
	wrong := withSecretOf(token, s.key())
	for i := range 100 {
		require.Equal(t, 401, status(h, fmt.Sprint("192.0.2.", i), wrong))
	}
	assert.Equal(t, 200, status(h, "198.51.100.7", token), "strangers have locked out a key")
}

func TestNoThrottle(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: -1, FailureBurst: 1})
	h := s.Require()(greet)
	for range 100 {
		require.Equal(t, 401, status(h, "192.0.2.1", otherToken))
	}
}

func TestDefaultBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, nil)
		h := s.Require()(greet)
		for range 50 {
			require.Equal(t, 401, status(h, "192.0.2.1", otherToken))
		}
		require.Equal(t, 429, status(h, "192.0.2.1", otherToken))
		for range 10 {
			time.Sleep(time.Second)
			for range 5 {
				require.Equal(t, 401, status(h, "192.0.2.1", otherToken))
			}
			require.Equal(t, 429, status(h, "192.0.2.1", otherToken))
		}
	})
}

func TestProxiedClientsHaveBudgetsOfTheirOwn(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: 1e-9, FailureBurst: 1, TrustedProxies: prefixes("10.0.0.1/32")})
	h := s.Require()(greet)
	by := func(peer, client string) int {
		r := from(h, peer, otherToken)
		r.Header.Set("X-Forwarded-For", client)
		return serve(h, r).Code
	}
	assert.Equal(t, 401, by("10.0.0.1", "198.51.100.1"))
	assert.Equal(t, 429, by("10.0.0.1", "198.51.100.1"))
	assert.Equal(t, 401, by("10.0.0.1", "198.51.100.2"))
	assert.Equal(t, 429, by("10.0.0.1", "203.0.113.9, 198.51.100.2"), "an address made up by the client")
	assert.Equal(t, 401, by("192.0.2.1", "198.51.100.3"))
	assert.Equal(t, 429, by("192.0.2.1", "198.51.100.4"), "a peer that is not trusted makes up its address")
}

// Case 49: a blocked address stays blocked, however many others fail.
func TestThrottleOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, &Options{FailuresPerSecond: 0.001, FailureBurst: 3, MaxClients: 10}, uncached)
		h := s.Require()(greet)
		token := s.key()
		for range 3 {
			require.Equal(t, 401, status(h, "192.0.2.1", otherToken))
		}
		for i := range 1000 {
			status(h, fmt.Sprintf("198.51.%d.%d", i/200, i%200), otherToken)
			require.Equal(t, 429, status(h, "192.0.2.1", token), "blocked, and forgotten after %d others", i)
		}
		require.Len(t, s.throttle.clients, 10)
		require.Len(t, s.throttle.order, 10)

		// All are blocked by now: who is new is too, with a good key as well, since
		// an attacker may have any number of addresses.
		assert.Equal(t, 429, status(h, "203.0.113.1", otherToken))
		assert.Equal(t, 429, status(h, "203.0.113.1", token))
		time.Sleep(1000 * time.Second) // one attempt came back to each
		assert.Equal(t, 200, status(h, "203.0.113.1", token))
		time.Sleep(time.Hour)
		for range 3 {
			assert.Equal(t, 401, status(h, "203.0.113.1", otherToken), "when the others have recovered, there is room")
		}
		assert.Equal(t, 429, status(h, "203.0.113.1", otherToken))
	})
}

// A flood from more addresses than the table has room writes a line a budget, not one
// an address, however long it lasts.
func TestAFloodDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, &Options{FailuresPerSecond: 1, FailureBurst: 3, MaxClients: 10}, uncached)
		h := s.Require()(greet)
		refused := 0
		for i := range 5000 {
			if status(h, fmt.Sprintf("198.51.%d.%d", i/200, i%200), otherToken) == 401 {
				refused++
			}
			time.Sleep(10 * time.Millisecond)
		}
		assert.Greater(t, refused, 400, "attempts came back all the time")
		assert.Equal(t, 10, strings.Count(s.log.String(), "throttled"))
	})
}

// Case 49: whoever has more addresses than the table has room gains nothing by
// pushing one out with another.
func TestPushingEachOtherOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{FailuresPerSecond: 0.001, FailureBurst: 100, MaxClients: 4}
		throttle := newThrottle(&o)
		for i := range 4 { // the table is full of addresses that spent more
			for range 50 {
				throttle.spend(addr("192.0.2." + strconv.Itoa(i)))
			}
		}
		tried := 0
		for ; tried < 1000; tried++ {
			client := addr("198.51.100." + strconv.Itoa(tried%2))
			if throttle.wait(client) > 0 {
				break
			}
			throttle.spend(client)
		}
		assert.LessOrEqual(t, tried, 4*50, "two addresses got more attempts than the table had left")
	})
}

// An address whose budget is full again makes room at once, a blocked one never.
func TestWhoMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{FailuresPerSecond: 1, FailureBurst: 4, MaxClients: 3}
		throttle := newThrottle(&o)
		spend := func(a string, n int) {
			for range n {
				throttle.spend(addr(a))
			}
		}
		spend("192.0.2.1", 4) // blocked
		spend("192.0.2.2", 1)
		spend("192.0.2.3", 2)
		time.Sleep(time.Second) // 1: one left; 2: full; 3: one is spent
		spend("192.0.2.1", 1)
		spend("192.0.2.4", 1)
		assert.ElementsMatch(t, []netip.Addr{addr("192.0.2.1"), addr("192.0.2.3"), addr("192.0.2.4")}, addrs(throttle), "a full budget goes first")
		spend("192.0.2.4", 1)
		spend("192.0.2.5", 1)
		assert.ElementsMatch(t, []netip.Addr{addr("192.0.2.1"), addr("192.0.2.5"), addr("192.0.2.4")}, addrs(throttle), "then the one that spent least")
		assert.InDelta(t, 2, float64(throttle.clients[addr("192.0.2.5")].budget.TokensAt(time.Now())), 1e-6, "with what it had spent")
		assert.Positive(t, throttle.wait(addr("192.0.2.1")))

		time.Sleep(time.Hour)
		assert.Zero(t, throttle.wait(addr("192.0.2.1")))
		spend("192.0.2.9", 1)
		assert.Equal(t, []netip.Addr{addr("192.0.2.9")}, addrs(throttle), "those that recovered are forgotten")
		assert.Len(t, throttle.clients, 1)
	})
}

func addrs(t *throttle) []netip.Addr {
	var out []netip.Addr
	for i, c := range t.order {
		if t.clients[c.addr] != c || c.place != i {
			return nil
		}
		out = append(out, c.addr)
	}
	return out
}

// What were under way at once may be too many, and is paid back.
func TestAttemptsUnderWayArePaidBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := newThrottle(&Options{FailuresPerSecond: 1, FailureBurst: 5, MaxClients: 10})
		client := addr("192.0.2.1")
		for range 20 {
			require.Zero(t, throttle.wait(client)) // all were let in before the first failed
		}
		for range 20 {
			throttle.spend(client)
		}
		assert.Equal(t, 16*time.Second, throttle.wait(client).Round(time.Millisecond))
	})
}

// 64 goroutines on a table that is too small for them: no address gets more than
// its budget, and good keys of others pass.
func TestThrottleInParallel(t *testing.T) {
	const burst, clients = 20, 64
	s := newService(t, &Options{FailuresPerSecond: 1e-9, FailureBurst: burst, MaxClients: 2 * clients})
	h := s.Require()(greet)
	token := s.key()
	var refused, passed [clients]atomic.Int64
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for n := range 4 * burst {
				peer := (i + n*7) % clients
				switch status(h, fmt.Sprint("192.0.2.", peer), otherToken) {
				case 401:
					refused[peer].Add(1)
				case 429:
				default:
					passed[peer].Add(1)
				}
			}
			if status(h, fmt.Sprint("198.51.100.", i), token) != 200 {
				t.Errorf("a good key from another address did not pass")
			}
		})
	}
	group.Wait()
	for i := range clients {
		assert.Zero(t, passed[i].Load())
		assert.GreaterOrEqual(t, refused[i].Load(), int64(burst))
		assert.LessOrEqual(t, refused[i].Load(), int64(burst+clients), "more than the burst and what was under way")
		assert.Equal(t, 429, status(h, fmt.Sprint("192.0.2.", i), token))
	}
	assert.Len(t, addrs(s.throttle), clients)

	small := newThrottle(&Options{FailuresPerSecond: 1000, FailureBurst: 2, MaxClients: 8})
	for i := range clients {
		group.Go(func() {
			for n := range 500 {
				client := addr(fmt.Sprintf("198.51.%d.%d", i, n%50))
				small.wait(client)
				small.spend(client)
			}
		})
	}
	group.Wait()
	assert.LessOrEqual(t, len(small.order), 8)
	assert.Len(t, addrs(small), len(small.clients))
}

// A rate that is next to nothing overflows no duration.
func TestSlowBudgets(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: 5e-324, FailureBurst: 1})
	h := s.Require()(greet)
	status(h, "192.0.2.1", otherToken)
	w := serve(h, from(h, "192.0.2.1", otherToken))
	assert.Equal(t, 429, w.Code)
	seconds, err := strconv.ParseInt(w.Header().Get("Retry-After"), 10, 64)
	require.NoError(t, err)
	assert.Positive(t, seconds)
}
