// Scale measures a Badger store of many keys: what it takes to make them, to
// read them, and to get rid of some.
//
//	go run ./scale -dir /var/tmp/scale -keys 1000000 fill
//	go run ./scale -dir /var/tmp/scale -keys 1000000 measure
//
// fill makes the store, unsynced, in a folder that must not exist yet; measure
// opens it with the driver's own settings, synced. They are two processes, so
// that what filling leaves in memory is not measured. measure works the store
// off: it needs a new one each time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore"
	"example.com/keystore/badger"
)

const callers = 64 // at once, where a program would do things at once

// plan says which keys a store of that many holds.
type plan struct {
	dir  string
	keys int
}

func (p plan) folder() string  { return filepath.Join(p.dir, "store") }
func (p plan) samples() string { return filepath.Join(p.dir, "tokens") }

// due is how many keys the purge finds, and owned how many the one owner has
// whose keys are all revoked.
func (p plan) due() int   { return p.keys / 10 }
func (p plan) owned() int { return p.keys / 100 }

func main() {
	log.SetFlags(0)
	var p plan
	flag.StringVar(&p.dir, "dir", "", "folder for the store and a sample of its tokens")
	flag.IntVar(&p.keys, "keys", 1_000_000, "number of keys, 1000 or more")
	flag.Parse()
	if p.dir == "" || p.keys < 1000 || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	run := map[string]func(context.Context, plan) error{"fill": fill, "measure": measure}[flag.Arg(0)]
	if run == nil {
		log.Fatal("scale: the argument is fill or measure")
	}
	if err := run(context.Background(), p); err != nil {
		log.Fatal("scale: ", err)
	}
}

// store is a keystore and the database under it, for the bare operations.
type store struct {
	*keystore.Keystore
	db   *badgerdb.DB
	back *badger.Backend
}

// open opens the folder with the driver's own settings. The keystore's clock is
// ahead by that much.
func open(folder string, o badger.Options, ahead time.Duration) (*store, error) {
	opts, err := badger.DatabaseOptions(folder, &o)
	if err != nil {
		return nil, err
	}
	s := &store{}
	if s.db, err = badgerdb.Open(opts); err != nil {
		return nil, err
	}
	if s.back, err = badger.New(s.db, &badger.Options{Reserve: o.Reserve}); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.Keystore, err = s.at(ahead)
	if err != nil {
		return nil, errors.Join(err, s.back.Close(), s.db.Close())
	}
	return s, nil
}

// at is a keystore on the same store whose clock is ahead by that much.
func (s *store) at(ahead time.Duration) (*keystore.Keystore, error) {
	return keystore.New(s.back, &keystore.Options{
		TouchInterval: keystore.Never, PurgeInterval: keystore.Never, OpTimeout: time.Minute,
		Now: func() time.Time { return time.Now().Add(ahead) },
	})
}

func (s *store) close() error {
	return errors.Join(s.Keystore.Close(), s.back.Close(), s.db.Close())
}

// rate prints how long n things took together.
func rate(what string, n int, took time.Duration) {
	fmt.Printf("%-44s %9d in %8.2f s  %9.0f /s  %8.1f us each\n",
		what, n, took.Seconds(), float64(n)/took.Seconds(), float64(took.Microseconds())/float64(n))
}
