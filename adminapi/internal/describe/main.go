// Command describe writes the OpenAPI description of package adminapi to a file, as
// the handler serves it.
package main

import (
	"bytes"
	"errors"
	"log"
	"net/http"
	"os"

	"example.com/keystore"
	"example.com/keystore/adminapi"
	"example.com/keystore/memory"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal("describe: ", err)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("its argument is the file to write")
	}
	ks, err := keystore.New(memory.New(), nil)
	if err != nil {
		return err
	}
	defer ks.Close()
	api, err := adminapi.New(ks, nil)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodGet, "/openapi.yaml", nil)
	if err != nil {
		return err
	}
	var w answer
	api.ServeHTTP(&w, r)
	if w.status != http.StatusOK {
		return errors.New(http.StatusText(w.status))
	}
	return os.WriteFile(args[0], w.Bytes(), 0o644)
}

// answer keeps what a handler writes.
type answer struct {
	bytes.Buffer
	header http.Header
	status int
}

func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}
func (a *answer) WriteHeader(status int) { a.status = status }
