package httpauth

import (
	"net/http"
	"net/netip"
	"strings"
)

const (
	maxHops    = 32 // of a forwarded list that are looked at
	maxHopText = 64 // bytes of one of them
)

// ClientAddr returns the address of the client that sent the request: the peer's,
// or, if that is a trusted proxy, the last address of the forwarded list that is
// not one. An entry that is no address ends the search, at the proxy that passed
// it on. IPv4 addresses are unmapped, and zones removed. The zero Addr stands for
// peers that have none.
func (a *Auth) ClientAddr(r *http.Request) netip.Addr {
	peer, _ := parseAddr(r.RemoteAddr)
	fields := r.Header[a.opts.ForwardedHeader]
	if !a.trusts(peer) {
		if len(fields) > 0 {
			a.untrusted.Do(func() {
				a.opts.Logger.WarnContext(r.Context(), "httpauth: a peer that is no trusted proxy sends the forwarded header, which is ignored; if it is a proxy of yours, all its clients share one budget of failed attempts",
					"peer", peer, "header", a.opts.ForwardedHeader)
			})
		}
		return peer
	}
	last := peer
	hops := 0
	for i := len(fields) - 1; i >= 0; i-- {
		for rest, more := fields[i], true; more; hops++ {
			var hop string
			rest, hop, more = cutLast(rest)
			addr, ok := parseAddr(strings.TrimSpace(hop))
			if !ok || hops == maxHops {
				return last
			}
			if !a.trusts(addr) {
				return addr
			}
			last = addr
		}
	}
	return last
}

// clientOf is the address by which failures are counted: for IPv6 its /64, of which
// a client has all.
func (a *Auth) clientOf(r *http.Request) netip.Addr {
	if a.throttle == nil {
		return netip.Addr{}
	}
	addr := a.ClientAddr(r)
	if addr.Is6() {
		network, _ := addr.Prefix(64)
		return network.Addr()
	}
	return addr
}

func (a *Auth) trusts(addr netip.Addr) bool {
	if !addr.IsValid() {
		return a.opts.TrustUnix
	}
	for _, p := range a.opts.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// cutLast cuts a list at its last comma. What is too long to be an address is cut
// short, so that no list costs more than its entries.
func cutLast(list string) (before, last string, more bool) {
	from := max(0, len(list)-maxHopText)
	if i := strings.LastIndexByte(list[from:], ','); i >= 0 {
		return list[:from+i], list[from+i+1:], true
	}
	return "", list[from:], false
}

// parseAddr reads an address with or without a port, brackets and a zone.
func parseAddr(s string) (netip.Addr, bool) {
	var addr netip.Addr
	var err error
	inner, bracketed := strings.CutPrefix(s, "[")
	switch {
	case bracketed && strings.HasSuffix(inner, "]"):
		addr, err = netip.ParseAddr(inner[:len(inner)-1])
	case bracketed || strings.Count(s, ":") == 1: // without a port an IPv6 address has two colons at least
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		addr = withPort.Addr()
	default:
		addr, err = netip.ParseAddr(s)
	}
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}
