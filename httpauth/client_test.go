package httpauth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// prefixes parses prefixes; "" is one that is not valid.
func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if s == "" {
			out = append(out, netip.Prefix{})
			continue
		}
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestClientAddr(t *testing.T) {
	trusting := &Options{TrustedProxies: prefixes("10.0.0.0/8", "2001:db8:1::/48", "::ffff:172.16.0.0/108")}
	unix := &Options{TrustUnix: true}
	realIP := &Options{TrustedProxies: prefixes("10.0.0.0/8"), ForwardedHeader: "X-Real-IP"}
	for _, c := range []struct {
		options   *Options
		peer      string
		forwarded string // header lines, separated by |
		want      string
	}{
		{nil, "192.0.2.1:1234", "", "192.0.2.1"},
		{nil, "192.0.2.1:1234", "198.51.100.7", "192.0.2.1"},
		{nil, "[2001:db8::1]:1234", "", "2001:db8::1"},
		{nil, "[fe80::1%eth0]:1234", "", "fe80::1"},
		{nil, "[::ffff:192.0.2.1]:1234", "", "192.0.2.1"},
		{nil, "@", "", ""}, {nil, "", "", ""}, {nil, "/run/x.sock", "198.51.100.7", ""}, {nil, "example.com:80", "", ""},
		{trusting, "192.0.2.1:1234", "198.51.100.7", "192.0.2.1"},
		{trusting, "@", "198.51.100.7", ""},
		{trusting, "10.0.0.1:1", "", "10.0.0.1"},
		{trusting, "[::ffff:10.0.0.1]:1", "198.51.100.7", "198.51.100.7"},
		{trusting, "172.17.0.1:1", "198.51.100.7", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "198.51.100.7", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "203.0.113.9, 198.51.100.7", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "203.0.113.9, 198.51.100.7, 10.0.0.2, 2001:db8:1::5", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "203.0.113.9,198.51.100.7|10.0.0.2", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "203.0.113.9|198.51.100.7", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		{trusting, "10.0.0.1:1", " 198.51.100.7:4711 ", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "[2001:db8::7]", "2001:db8::7"},
		{trusting, "10.0.0.1:1", "[2001:db8::7]:443", "2001:db8::7"},
		{trusting, "10.0.0.1:1", "2001:db8::7", "2001:db8::7"},
		{trusting, "10.0.0.1:1", "fe80::7%eth0", "fe80::7"},
		{trusting, "10.0.0.1:1", "[fe80::7%eth0]:1", "fe80::7"},
		{trusting, "10.0.0.1:1", "::ffff:198.51.100.7", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "::ffff:10.0.0.9", "10.0.0.9"},
		{trusting, "10.0.0.1:1", "198.51.100.7, unknown", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "198.51.100.7, unknown, 10.0.0.2", "10.0.0.2"},
		{trusting, "10.0.0.1:1", "198.51.100.7,", "10.0.0.1"},
		{trusting, "10.0.0.1:1", ",198.51.100.7", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "for=198.51.100.7", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "198.51.100.007", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "198.51.100.7 198.51.100.8", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "\"198.51.100.7\"", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "0x7f.1", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "[2001:db8::7", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "2001:db8::7]", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "[]", "10.0.0.1"},
		{trusting, "10.0.0.1:1", "198.51.100.7:", "10.0.0.1"},
		{trusting, "10.0.0.1:1", ":80", "10.0.0.1"},
		{trusting, "10.0.0.1:1", strings.Repeat(" ", 10_000) + "198.51.100.7", "198.51.100.7"},
		{trusting, "10.0.0.1:1", "198.51.100.7" + strings.Repeat(" ", 10_000), "10.0.0.1"},
		{trusting, "10.0.0.1:1", "198.51.100.7" + strings.Repeat(", 10.0.0.2", 31), "198.51.100.7"},
		{trusting, "10.0.0.1:1", "198.51.100.7" + strings.Repeat(", 10.0.0.2", 32), "10.0.0.2"},
		{trusting, "10.0.0.1:1", strings.Repeat("9", 1<<20), "10.0.0.1"},
		{unix, "@", "198.51.100.7", "198.51.100.7"},
		{unix, "", "198.51.100.7", "198.51.100.7"},
		{unix, "@", "", ""}, {unix, "@", "x", ""},
		{unix, "192.0.2.1:1", "198.51.100.7", "192.0.2.1"},
		{realIP, "10.0.0.1:1", "", "10.0.0.1"},
	} {
		s := newService(t, c.options)
		r := newRequest("/")
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header[s.opts.ForwardedHeader] = strings.Split(c.forwarded, "|")
		}
		assert.Equal(t, addr(c.want), s.ClientAddr(r), "%s %.80s", c.peer, c.forwarded)
	}

	s := newService(t, realIP)
	r := newRequest("/", "X-Forwarded-For: 203.0.113.9", "X-Real-IP: 198.51.100.7")
	r.RemoteAddr = "10.0.0.1:1"
	assert.Equal(t, addr("198.51.100.7"), s.ClientAddr(r))
}

func TestClientsCountByNetwork(t *testing.T) {
	s := newService(t, nil)
	by := func(peer string) netip.Addr {
		r := newRequest("/")
		r.RemoteAddr = peer
		return s.clientOf(r)
	}
	assert.Equal(t, by("[2001:db8::1]:1"), by("[2001:db8::ffff:ffff:ffff:ffff]:2"))
	assert.NotEqual(t, by("[2001:db8::1]:1"), by("[2001:db8:0:1::1]:1"))
	assert.NotEqual(t, by("192.0.2.1:1"), by("192.0.2.2:1"))
	assert.Equal(t, by("[::ffff:192.0.2.1]:1"), by("192.0.2.1:2"))
	assert.Equal(t, by("[fe80::1%a]:1"), by("[fe80::2%b]:1"))
	assert.Equal(t, by("@"), by(""))
}

func TestAProxyThatIsNotTrustedIsLoggedOnce(t *testing.T) {
	s := newService(t, nil)
	h := s.Require()(greet)
	serve(h, newRequest("/"))
	assert.NotContains(t, s.log.String(), "proxy")
	for range 3 {
		serve(h, newRequest("/", "X-Forwarded-For: 198.51.100.7"))
	}
	assert.Equal(t, 1, strings.Count(s.log.String(), "no trusted proxy"))
	assert.Contains(t, s.log.String(), "192.0.2.1", "which peer it was")
}

// FuzzClientAddr compares with a search that is simple and not bounded.
func FuzzClientAddr(f *testing.F) {
	o := Options{TrustedProxies: prefixes("10.0.0.0/8")}
	s := newService(f, &o)
	for _, seed := range [][2]string{{"198.51.100.7", ""}, {"203.0.113.9, 198.51.100.7", "10.0.0.2"}, {"[2001:db8::7]:443", "10.0.0.1:80"}, {"fe80::7%eth0", ""}, {",", ","}, {"x", "::ffff:10.0.0.9"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {first, second}}}
		want := addr("10.0.0.1")
		hops := strings.Split(first+","+second, ",")
		bounded := len(hops) <= maxHops
		for i := len(hops) - 1; i >= 0; i-- {
			if len(hops[i]) > maxHopText {
				bounded = false
			}
			a, ok := parseAddr(strings.TrimSpace(hops[i]))
			if !ok {
				break
			}
			want = a
			if !o.TrustedProxies[0].Contains(a) {
				break
			}
		}
		got := s.ClientAddr(r)
		require.True(t, got.IsValid())
		require.Empty(t, got.Zone())
		if bounded {
			require.Equal(t, want, got)
		}
	})
}
