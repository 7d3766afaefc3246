package redis

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParseURL: what is accepted names servers, what is refused shows in no error,
// and nothing panics.
func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"host", "host:1/2", "u:p@host,host2:3/m/4", "[::1]:5", "a?addr=b:1&addr=c:2", "a?namespace=x&pool_size=3", "?", "/", "@", ",", "a,", "%zz@a", "a/%zz", "a?%zz",
		"a#b", "u:p@@a", "a?tls_ca_file=/x&tls_server_name=y", "a/m?sentinel_password=x", "a?db=1", "a/m?master_name=n&db=2", "a:65536", "[a]:1", "a?read_timeout=-1", "\x00", "a?max_active_conns=x",
		"a?pool_size=-1", "a?pool_size=9999999999", "a?pipeline_read_buffer_size=-2", "a?pipeline_pool_size=-3", "a?max_retries=-9", "a?protocol=7", "a?write_timeout=0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		const secret = "hunter2hunter2" // long enough not to stand in an error by chance
		for scheme, form := range schemes {
			at, err := parseURL(scheme + "://" + rest)
			if err == nil {
				require.True(t, at.namespace == "" || validNamespace(at.namespace))
				require.Equal(t, form.tls, at.tls != nil)
				switch form.kind {
				case cluster:
					require.NotEmpty(t, at.cluster.Addrs)
					require.False(t, at.cluster.ReadOnly || at.cluster.RouteByLatency || at.cluster.RouteRandomly)
				case sentinel:
					require.NotEmpty(t, at.sentinel.SentinelAddrs)
					require.NotEmpty(t, at.sentinel.MasterName)
					require.False(t, at.sentinel.ReplicaOnly || at.sentinel.RouteByLatency || at.sentinel.RouteRandomly)
				default:
					require.False(t, strings.HasPrefix(at.single.Addr, ":"), "%q", at.single.Addr)
					require.GreaterOrEqual(t, at.single.DB, 0)
				}
				if !strings.Contains(rest, "min_idle_conns") { // or it would connect
					require.NoError(t, at.client(nil).Close())
				}
			}
			for _, with := range []string{rest + secret, secret + rest, strings.Replace(rest, "=", "="+secret, 1), strings.Replace(rest, "?", "?"+secret, 1)} {
				if _, err := parseURL(scheme + "://" + with); err != nil {
					require.NotContains(t, err.Error(), secret)
				}
			}
		}
	})
}
