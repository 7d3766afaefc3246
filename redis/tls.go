package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// tlsFiles is what a URL says of TLS.
type tlsFiles struct {
	ca, cert, key string // paths; "": none
	serverName    string // "": the host that is connected to
}

// takeTLS removes the parameters that are about TLS.
func takeTLS(query url.Values, enabled bool) (*tlsFiles, error) {
	var f tlsFiles
	for name, value := range map[string]*string{"tls_ca_file": &f.ca, "tls_cert_file": &f.cert, "tls_key_file": &f.key, "tls_server_name": &f.serverName} {
		var given bool
		switch *value, given = take(query, name); {
		case !given:
		case !enabled:
			return nil, fmt.Errorf("%s is of no use without TLS: the scheme is rediss then", name)
		case *value == "", strings.HasSuffix(name, "_file") && !strings.HasPrefix(*value, "/"), strings.ContainsRune(*value, 0):
			return nil, fmt.Errorf("%s must be an absolute path, or a name", name)
		}
	}
	switch {
	case !enabled:
		return nil, nil
	case (f.cert == "") != (f.key == ""):
		return nil, errors.New("tls_cert_file and tls_key_file are of use only together")
	}
	return &f, nil
}

// config returns the settings of TLS, which begin with those of base if there are
// any. Its errors hold no path.
func (f *tlsFiles) config(base *tls.Config) (*tls.Config, error) {
	if f == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		c = base.Clone()
	}
	if f.serverName != "" {
		c.ServerName = f.serverName
	}
	if f.ca != "" {
		pem, err := os.ReadFile(filepath.FromSlash(f.ca))
		if err != nil {
			return nil, withoutPath("tls_ca_file", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("redis: tls_ca_file holds no certificate in PEM form")
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(filepath.FromSlash(f.cert), filepath.FromSlash(f.key))
		if err != nil {
			return nil, withoutPath("tls_cert_file or tls_key_file", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
