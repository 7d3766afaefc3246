// Selfservice is an application whose users make and delete their own API keys on a
// page. Who is logged in is the application's to say; which keys they reach, and
// what those may do, it tells the admin API in one function, grantOf.
//
//	go run ./examples/selfservice
//
// and open the address that it prints. It ends on Ctrl-C.
//
//	KEYSTORE_URL=redis://localhost:6379/0 go run ./examples/selfservice
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/keystore"
	_ "example.com/keystore/badger" // each registers its schemes
	_ "example.com/keystore/memory"
	_ "example.com/keystore/mongo"
	_ "example.com/keystore/redis"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:8080", "`address` to listen on")
	store := flag.String("store", "", "`URL` of the store; KEYSTORE_URL; default memory://")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *listen, cmp.Or(*store, os.Getenv("KEYSTORE_URL"), "memory://")); err != nil {
		log.Fatal("selfservice: ", err)
	}
}

func run(ctx context.Context, out io.Writer, listen, store string) (err error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ks, err := keystore.Open(ctx, store, &keystore.Options{Prefix: "sk_test", Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ks.Close()) }() // writes last-used times
	app, err := newApp(ks, logger)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Open http://%s\n", listener.Addr())
	server := &http.Server{
		Handler:           app,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		ended <- server.Shutdown(grace)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}
