package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TLS is what a client of a server with TLS needs. The files are PEM.
type TLS struct {
	CAFile   string // of the authority that signed both certificates
	CertFile string // of the client
	KeyFile  string
	Config   *tls.Config // made of these

	server []string // lines of redis.conf
}

// StartRedisTLS starts a server that speaks TLS only, with a certificate for
// 127.0.0.1 and localhost, and asks clients for a certificate. The config line
// "tls-auth-clients no" lets in clients without one.
func StartRedisTLS(tb testing.TB, config ...string) (*Redis, *TLS) {
	tb.Helper()
	files := newTLS(tb)
	r := newRedis(tb, files, slices.Concat(common, files.server, config))
	r.Start()
	return r, files
}

// StartClusterTLS is StartCluster with TLS as StartRedisTLS has it, between the nodes
// too.
func StartClusterTLS(tb testing.TB, config ...string) (*Cluster, *TLS) {
	tb.Helper()
	files := newTLS(tb)
	return startCluster(tb, files, slices.Concat(files.server, []string{"tls-cluster yes", "tls-replication yes"}, config)), files
}

// StartSentinelTLS is StartSentinel with TLS as StartRedisTLS has it, for all that
// take part.
func StartSentinelTLS(tb testing.TB, config ...string) (*Sentinel, *TLS) {
	tb.Helper()
	files := newTLS(tb)
	return startSentinel(tb, files, slices.Concat(files.server, []string{"tls-replication yes"}), config), files
}

// newTLS makes the certificates.
func newTLS(tb testing.TB) *TLS {
	tb.Helper()
	dir := tb.TempDir()
	authority := newCertificate(tb, dir, "ca", nil)
	server := newCertificate(tb, dir, "server", authority)
	client := newCertificate(tb, dir, "client", authority)
	roots := x509.NewCertPool()
	roots.AddCert(authority.leaf)
	return &TLS{
		CAFile: authority.certFile, CertFile: client.certFile, KeyFile: client.keyFile,
		Config: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: roots,
			Certificates: []tls.Certificate{{Certificate: [][]byte{client.leaf.Raw}, PrivateKey: client.key, Leaf: client.leaf}},
		},
		server: []string{
			"tls-cert-file " + server.certFile, "tls-key-file " + server.keyFile, "tls-ca-cert-file " + authority.certFile,
			"tls-auth-clients yes",
		},
	}
}

type certificate struct {
	leaf              *x509.Certificate
	key               *ecdsa.PrivateKey
	certFile, keyFile string
}

// newCertificate makes a certificate for a day, signed by the authority, or an
// authority if there is none.
func newCertificate(tb testing.TB, dir, name string, authority *certificate) *certificate {
	tb.Helper()
	fail := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, signerKey := template, key
	if authority == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		template.ExtKeyUsage, template.DNSNames, template.IPAddresses = nil, nil, nil
	} else {
		signer, signerKey = authority.leaf, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	fail(err)
	leaf, err := x509.ParseCertificate(der)
	fail(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	fail(err)
	c := &certificate{leaf, key, filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")}
	fail(os.WriteFile(c.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	fail(os.WriteFile(c.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return c
}
