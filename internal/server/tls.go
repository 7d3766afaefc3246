package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"

	"example.com/keystore"
)

// tls reports whether requests come over TLS.
func (c *Config) tls() bool { return c.CertFile != "" || c.KeyFile != "" || c.SelfSigned }

// tlsConfig returns nil without TLS.
func (c *Config) tlsConfig() (*tls.Config, error) {
	switch {
	case !c.tls():
		return nil, nil
	case c.SelfSigned && (c.CertFile != "" || c.KeyFile != ""):
		return nil, fmt.Errorf("%w TLS: a certificate of a file and a self-signed one exclude each other", keystore.ErrInvalid)
	case c.SelfSigned:
		cert, err := selfSigned(c.Listen, time.Now())
		if err != nil {
			return nil, fmt.Errorf("making a certificate failed: %w", err)
		}
		c.Logger.Info("made a self-signed certificate, for trying out only", "sha256", fingerprint(cert.Certificate[0]))
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, nil
	case c.CertFile == "" || c.KeyFile == "":
		return nil, fmt.Errorf("%w TLS: a certificate and its key belong together", keystore.ErrInvalid)
	}
	pair := &reloading{certFile: c.CertFile, keyFile: c.KeyFile, log: c.Logger, now: time.Now}
	if err := pair.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}, nil
}

// fingerprint is written as openssl x509 -fingerprint does.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// selfSigned makes a certificate for this machine and the host of address, for 90
// days.
func selfSigned(address string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "keystore, self-signed"},
		NotBefore:             now.Add(-time.Hour), // the client's clock may be behind
		NotAfter:              now.Add(90 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true, // so that clients can be told to trust it
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if name, err := os.Hostname(); err == nil {
		template.DNSNames = append(template.DNSNames, name)
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
