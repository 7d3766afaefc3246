package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pair is a certificate and its key as PEM.
type pair struct {
	cert, key []byte
	leaf      *x509.Certificate
}

func newPair(t *testing.T) pair {
	t.Helper()
	made, err := selfSigned("127.0.0.1:0", time.Now())
	require.NoError(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(made.Certificate[0])
	require.NoError(t, err)
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		leaf,
	}
}

// shown is the certificate of a handshake.
func shown(t *testing.T, address string) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// The new pair is shown once both files are there; connections that live go on.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	first, second := newPair(t), newPair(t)
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(certFile, first.cert, 0o600))
	require.NoError(t, os.WriteFile(keyFile, first.key, 0o600))
	s := serve(t, Config{CertFile: certFile, KeyFile: keyFile})
	token, _ := s.generate("a")
	require.Equal(t, 200, s.get("/verify", token).StatusCode)
	require.Equal(t, first.leaf.Raw, shown(t, s.addr).Raw)

	live, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer live.Close()
	require.NoError(t, os.WriteFile(certFile, second.cert, 0o600)) // and its key is not there yet
	require.Eventually(t, func() bool {
		require.Equal(t, first.leaf.Raw, shown(t, s.addr).Raw)
		return bytes.Contains([]byte(s.log.String()), []byte("the certificate stays the old one"))
	}, patience, 50*time.Millisecond)
	require.NoError(t, os.WriteFile(keyFile, second.key, 0o600))
	require.Eventually(t, func() bool { return bytes.Equal(second.leaf.Raw, shown(t, s.addr).Raw) }, patience, 50*time.Millisecond)
	require.NotContains(t, s.log.String(), certFile)

	_, err = io.WriteString(live, "GET /verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	text, err := io.ReadAll(live)
	require.NoError(t, err)
	require.Contains(t, string(text), "200 OK")
}

func TestFilesAreReadOnceASecond(t *testing.T) {
	first, second := newPair(t), newPair(t)
	dir := t.TempDir()
	now := time.Now()
	var log bytes.Buffer
	r := &reloading{
		certFile: filepath.Join(dir, "cert"), keyFile: filepath.Join(dir, "key"),
		log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now },
	}
	write := func(p pair) {
		require.NoError(t, os.WriteFile(r.certFile, p.cert, 0o600))
		require.NoError(t, os.WriteFile(r.keyFile, p.key, 0o600))
	}
	leaf := func() []byte {
		c, err := r.get(nil)
		require.NoError(t, err)
		return c.Certificate[0]
	}
	require.Error(t, r.load())
	write(first)
	require.NoError(t, r.load())
	require.Equal(t, first.leaf.Raw, leaf())
	write(second)
	require.Equal(t, first.leaf.Raw, leaf(), "the files were read a moment ago")
	now = now.Add(reloadEvery)
	require.Equal(t, second.leaf.Raw, leaf())

	for range 3 { // what stays wrong is logged once
		for _, broken := range []string{"", "no PEM", string(first.cert)} {
			require.NoError(t, os.WriteFile(r.certFile, []byte(broken), 0o600))
			now = now.Add(reloadEvery)
			require.Equal(t, second.leaf.Raw, leaf())
		}
	}
	require.NoError(t, os.WriteFile(r.certFile, bytes.Repeat([]byte("x"), maxPEM+1), 0o600))
	log.Reset()
	for range 3 {
		now = now.Add(reloadEvery)
		require.Equal(t, second.leaf.Raw, leaf())
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("stays the old one")), log.String())
	require.NoError(t, os.Remove(r.certFile))
	now = now.Add(reloadEvery)
	require.Equal(t, second.leaf.Raw, leaf())
	require.NotContains(t, log.String(), dir)
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{SelfSigned: true})
	cert := shown(t, s.addr)
	sum := sha256.Sum256(cert.Raw)
	logged := regexp.MustCompile(`"sha256":"([0-9A-F:]{95})"`).FindStringSubmatch(s.log.String())
	require.NotNil(t, logged)
	require.Equal(t, hex.EncodeToString(sum[:]), strings.ToLower(strings.ReplaceAll(logged[1], ":", "")))
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		_, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: roots})
		require.NoError(t, err, name)
	}
	a := s.get("/healthz", "")
	require.Equal(t, 2, a.ProtoMajor)
	_, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)
	require.Equal(t, 400, func() int { // plain HTTP
		response, err := http.Get("http://" + s.addr + "/healthz")
		require.NoError(t, err)
		defer response.Body.Close()
		return response.StatusCode
	}())
	http.DefaultClient.CloseIdleConnections()
}

// What clients say in handshakes that fail neither fills the log nor brings a token
// into it.
func TestFailedHandshakesInTheLog(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{SelfSigned: true})
	protocols := []string{planted}
	for range 200 {
		protocols = append(protocols, strings.Repeat("x", 255))
	}
	for range 30 {
		_, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
		require.Error(t, err)
	}
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "TLS handshake error") }, patience, time.Millisecond)
	require.NotContains(t, s.log.String(), planted[20:])
	require.Less(t, len(s.log.String()), 60<<10)
}
