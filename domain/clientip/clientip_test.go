package clientip_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/clientip"
)

var trusted = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("192.0.2.1/32"),
	netip.MustParsePrefix("fd00::/8"),
}

func TestOf(t *testing.T) {
	for name, c := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"no proxy":                             {"203.0.113.9", nil, "203.0.113.9"},
		"an untrusted peer is not believed":    {"203.0.113.9", []string{"198.51.100.1"}, "203.0.113.9"},
		"a trusted peer without the header":    {"10.0.0.1", nil, "10.0.0.1"},
		"a trusted peer":                       {"10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		"what the client sent is not believed": {"10.0.0.1", []string{"6.6.6.6, 198.51.100.1"}, "198.51.100.1"},
		"two proxies":                          {"10.0.0.1", []string{"6.6.6.6, 198.51.100.1, 192.0.2.1,10.9.9.9"}, "198.51.100.1"},
		"two header lines":                     {"10.0.0.1", []string{"6.6.6.6, 198.51.100.1", "10.2.2.2"}, "198.51.100.1"},
		"the client's own line":                {"10.0.0.1", []string{"6.6.6.6", "198.51.100.1"}, "198.51.100.1"},
		"trusted text from the client":         {"10.0.0.1", []string{"10.5.5.5", "198.51.100.1"}, "198.51.100.1"},
		"all trusted":                          {"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"rubbish":                              {"10.0.0.1", []string{"unknown"}, "10.0.0.1"},
		"rubbish stops the walk":               {"10.0.0.1", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		"rubbish in an earlier line":           {"10.0.0.1", []string{"198.51.100.1, x", "10.0.0.2"}, "10.0.0.2"},
		"an obfuscated name":                   {"10.0.0.1", []string{"198.51.100.1, _hidden"}, "10.0.0.1"},
		"empty entries":                        {"10.0.0.1", []string{"", " 198.51.100.1 ,, ", "\t"}, "198.51.100.1"},
		"with a port":                          {"10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		"IPv6":                                 {"fd00::1", []string{"2001:db8::7"}, "2001:db8::7"},
		"IPv6 with a port":                     {"fd00::1", []string{"[2001:db8::7]:443"}, "2001:db8::7"},
		"IPv6 in brackets":                     {"fd00::1", []string{"[2001:db8::7]"}, "2001:db8::7"},
		"IPv4 in brackets":                     {"10.0.0.1", []string{"[198.51.100.1]"}, "10.0.0.1"},
		"IPv6 with a zone":                     {"fd00::1%eth0", []string{"fe80::7%eth0"}, "fe80::7"},
		"a mapped peer":                        {"::ffff:10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		"a mapped entry":                       {"10.0.0.1", []string{"198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		"a mapped client":                      {"10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"a leading zero is no address":         {"10.0.0.1", []string{"198.51.100.01"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := clientip.Of(netip.MustParseAddr(c.peer), c.forwarded, trusted)
			require.Equal(t, c.want, got.String())
		})
	}
}

func TestOfTrustsNobodyByDefault(t *testing.T) {
	peer := netip.MustParseAddr("127.0.0.1")
	require.Equal(t, peer, clientip.Of(peer, []string{"198.51.100.1"}, nil))
	require.Equal(t, netip.Addr{}, clientip.Of(netip.Addr{}, []string{"198.51.100.1"}, trusted))
}

func TestKey(t *testing.T) {
	for addr, want := range map[string]string{
		"203.0.113.9":             "203.0.113.9",
		"::ffff:203.0.113.9":      "203.0.113.9",
		"2001:db8:1:2:3:4:5:6":    "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::":     "2001:db8:1:2::/64",
		"2001:db8:1:3::1":         "2001:db8:1:3::/64",
		"fe80::1:2:3:4%eth0":      "fe80::/64",
		"::1":                     "::/64",
		"::ffff:203.0.113.9%eth0": "203.0.113.9",
	} {
		require.Equal(t, want, clientip.Key(netip.MustParseAddr(addr)), addr)
	}
	require.NotEmpty(t, clientip.Key(netip.Addr{}))
}

// Whatever a client writes, the address given is the peer's or an address after which only
// trusted ones stand; what stands before it changes nothing.
func FuzzOf(f *testing.F) {
	f.Add("10.0.0.1", "6.6.6.6, 198.51.100.1", "10.2.2.2")
	f.Add("10.0.0.1", "x,,[::1]:2", "")
	f.Add("fd00::1%a", "::ffff:10.0.0.1,10.0.0.1:1", ",")
	f.Fuzz(func(t *testing.T, peerText, first, second string) {
		peer, err := netip.ParseAddr(peerText)
		if err != nil {
			return
		}
		inTrusted := func(a netip.Addr) bool {
			return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		got := clientip.Of(peer, []string{first, second}, trusted)
		if own := peer.WithZone("").Unmap(); !inTrusted(own) && got != own {
			t.Fatalf("an untrusted peer %s was overruled by %s", own, got)
		}
		if joined := clientip.Of(peer, []string{first + "," + second}, trusted); joined != got {
			t.Fatalf("%s in two lines, %s in one", got, joined)
		}
		if !inTrusted(got) {
			forged := clientip.Of(peer, []string{"6.6.6.6," + first, second}, trusted)
			if forged != got {
				t.Fatalf("%s became %s by what stands before it", got, forged)
			}
		}
		if strings.ContainsAny(clientip.Key(got), "%, ") {
			t.Fatalf("key %q", clientip.Key(got))
		}
	})
}
