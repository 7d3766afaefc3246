// Webservice is a small service of orders behind API keys, over HTTPS.
//
//	go run ./examples/webservice
//
// makes a certificate of its own and, as its store of keys is empty, a first key,
// which it prints once, with the line to try it. Keys are kept in the folder
// keystore-webservice of your cache directory. It ends on Ctrl-C, after the
// requests under way.
//
//	go run ./examples/webservice -make-key bob          # one more key, for bob
//	go run ./examples/webservice -cert c.pem -key k.pem # a certificate of yours
//	KEYSTORE_URL=redis://localhost:6379/0 go run ./examples/webservice
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"example.com/keystore"
	_ "example.com/keystore/badger" // each registers its schemes
	"example.com/keystore/httpauth"
	_ "example.com/keystore/memory"
	_ "example.com/keystore/mongo"
	_ "example.com/keystore/redis"
)

type config struct {
	listen, store, cert, key, owner string
}

func main() {
	log.SetFlags(0)
	var c config
	flag.StringVar(&c.listen, "listen", "127.0.0.1:8443", "`address` to listen on")
	flag.StringVar(&c.store, "store", "", "`URL` of the store; one with a password belongs in KEYSTORE_URL")
	flag.StringVar(&c.cert, "cert", "", "certificate, a PEM `file`; default: one is made")
	flag.StringVar(&c.key, "key", "", "its private key, a PEM `file`")
	flag.StringVar(&c.owner, "make-key", "", "make a key for this `owner`")
	flag.Parse()
	if c.store = cmp.Or(c.store, os.Getenv("KEYSTORE_URL")); c.store == "" {
		var err error
		if c.store, err = ownFolder(); err != nil {
			log.Fatal("webservice: KEYSTORE_URL is not set: ", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, c); err != nil {
		log.Fatal("webservice: ", err)
	}
}

// ownFolder is a store where other users of this machine put nothing. In the
// temporary directory they could: a key of theirs would be good here.
func ownFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := url.URL{Scheme: "badger", Path: filepath.ToSlash(filepath.Join(cache, "keystore-webservice"))}
	return folder.String(), nil
}

func run(ctx context.Context, out io.Writer, c config) (err error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ks, err := keystore.Open(ctx, c.store, &keystore.Options{Prefix: "sk_test", Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ks.Close()) }() // writes last-used times
	auth, err := httpauth.New(ks, &httpauth.Options{Logger: logger})
	if err != nil {
		return err
	}
	certificate, err := loadOrMake(c.cert, c.key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := firstKey(ctx, out, ks, c.owner, "https://"+listener.Addr().String()); err != nil {
		return err
	}
	server := &http.Server{
		Handler:           routes(auth),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	fmt.Fprintf(out, "Listening on https://%s\n", listener.Addr())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(err, server.Close())
	}
	fmt.Fprintln(out, "Ended")
	return nil
}

// firstKey makes a key and prints it, if it is asked for or the store is empty.
func firstKey(ctx context.Context, out io.Writer, ks *keystore.Keystore, owner, base string) error {
	if owner == "" {
		keys, _, err := ks.List(ctx, keystore.ListParams{Limit: 1})
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			return nil
		}
		owner = "alice"
	}
	token, _, err := ks.Generate(ctx, keystore.KeyParams{
		Owner:  owner,
		Name:   "made by examples/webservice",
		Scopes: []string{"orders:read", "orders:write"},
		TTL:    30 * 24 * time.Hour,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "A key for %s, shown this once: %s\n", owner, token.Reveal())
	fmt.Fprintf(out, "Try: curl -k -H 'Authorization: Bearer %s' -d '{\"item\":\"tea\"}' %s/orders\n", token.Reveal(), base)
	return nil
}
