package redis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
)

// TLS with certificates of the clients, to every node and sentinel, also those that
// the URL does not name.
func TestTLSOfTopologies(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (url string, files *testserver.TLS){
		"cluster": func(t *testing.T) (string, *testserver.TLS) {
			c, files := testserver.StartClusterTLS(t)
			return "rediss+cluster://" + c.Nodes[0].Addr(), files
		},
		"sentinel": func(t *testing.T) (string, *testserver.TLS) {
			s, files := testserver.StartSentinelTLS(t)
			return s.URL(), files
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, files := start(t)
			_, err := backend.Open(testContext(t), withParameter(t, url, "tls_ca_file", files.CAFile), nil)
			noAnswer(t, err)
			url = withParameter(t, url, "tls_ca_file", files.CAFile)
			url = withParameter(t, url, "tls_cert_file", files.CertFile)
			url = withParameter(t, url, "tls_key_file", files.KeyFile)
			b := openURL(t, url)
			changes := watch(t, b)
			create(t, b, record("there", "alice", "d"), record("other", "alice", "d"))
			receive(t, changes, "other")
			for _, m := range methods(b) {
				require.NoError(t, m.call(testContext(t)), m.name)
			}
		})
	}
}
