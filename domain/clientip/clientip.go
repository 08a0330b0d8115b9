// Package clientip tells who is calling when proxies stand between, and by which key a
// caller is counted.
package clientip

import (
	"net/netip"
	"strings"
)

// Of gives the address of the client behind a connection from peer. It is the peer, unless
// the peer is trusted: then it is the right-most address of X-Forwarded-For that is not
// trusted, over all lines of that header in the order they were sent, since only what
// trusted proxies have appended can be believed. When an entry is no address, or all are
// trusted, it is the last address that was believed. Entries may carry a port.
func Of(peer netip.Addr, forwardedFor []string, trusted []netip.Prefix) netip.Addr {
	client := plain(peer)
	for i := len(forwardedFor) - 1; i >= 0 && isTrusted(client, trusted); i-- {
		line := forwardedFor[i]
		for more := true; more && isTrusted(client, trusted); {
			entry := line
			if comma := strings.LastIndexByte(line, ','); comma >= 0 {
				line, entry = line[:comma], line[comma+1:]
			} else {
				more = false
			}
			entry = strings.Trim(entry, " \t")
			if entry == "" {
				continue // an empty element of a list means nothing (RFC 9110 §5.6.1)
			}
			addr, ok := parse(entry)
			if !ok {
				return client
			}
			client = addr
		}
	}
	return client
}

// Key gives what calls of one client are counted under: an IPv4 address itself, an IPv6
// address's /64, of which one subscriber has all (RFC 6177 §2).
func Key(addr netip.Addr) string {
	addr = plain(addr)
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
}

// plain makes addresses comparable: without zone, and IPv4 where it was mapped into IPv6.
func plain(addr netip.Addr) netip.Addr { return addr.WithZone("").Unmap() }

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, prefix := range trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func parse(entry string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(entry); err == nil {
		return plain(addr), true
	}
	if withPort, err := netip.ParseAddrPort(entry); err == nil {
		return plain(withPort.Addr()), true
	}
	if inner, bracketed := strings.CutPrefix(entry, "["); bracketed {
		if inner, bracketed = strings.CutSuffix(inner, "]"); bracketed {
			addr, err := netip.ParseAddr(inner)
			return plain(addr), err == nil && addr.Is6()
		}
	}
	return netip.Addr{}, false
}
