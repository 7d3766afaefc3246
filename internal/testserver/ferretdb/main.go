// Command ferretdb runs a server for the MongoDB protocol for tests: FerretDB
// 1.24 with its embedded SQLite, in one process that needs nothing installed.
//
// FerretDB 1.x reads a document and then writes it in a second step, so writes of
// several connections at once overtake each other: compare-and-swap loses updates.
// The address that this program serves is therefore that of a proxy in front of
// FerretDB that passes one writing command at a time, see [proxy]. What remains
// is that FerretDB finds a document by reading all of its collection: keep test
// stores to a few hundred documents.
//
// It prints its address, host and port, as one line on the standard output, and logs to the
// standard error. It ends on SIGTERM and when its standard input ends, so that it
// never outlives the test that holds the other side of a pipe.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	dir := flag.String("data", "", "`folder` for the data; default: a temporary one, removed at the end")
	listen := flag.String("listen", "127.0.0.1:0", "`address` to serve; port 0: any that is free")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()

	if err := run(ctx, *dir, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, dir, listen string) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "keystore-ferretdb-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary) //nolint:errcheck // it is in the folder for temporary files
		dir = temporary
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // serve has closed it, unless FerretDB did not start
	server, err := startFerretDB(ctx)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())

	// The connections of the proxy are closed first: FerretDB waits 3 s for those that are open.
	(&proxy{target: server.addr}).serve(ctx, listener)
	return server.wait()
}

type server struct {
	addr string
	wait func() error // returns when FerretDB has ended
}

// startFerretDB runs FerretDB on the data in the current folder until ctx ends. A
// path would have to become part of a URI, which FerretDB does not escape.
func startFerretDB(ctx context.Context) (*server, error) {
	f, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Handler:   "sqlite",
		SQLiteURL: "file:./",
		Logger:    newLogger(os.Stderr),
	})
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(f.MongoDBURI())
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	return &server{addr: address.Host, wait: func() error { return <-ended }}, nil
}
