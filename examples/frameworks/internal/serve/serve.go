// Package serve runs the routes of an example on 127.0.0.1:8080, with a key store
// in memory and one key.
package serve

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"example.com/keystore"
	"example.com/keystore/httpauth"
	"example.com/keystore/memory"
)

// Routes never returns.
func Routes(routes func(*httpauth.Auth) http.Handler) {
	ks, err := keystore.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	token, _, err := ks.Generate(context.Background(), keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}})
	if err != nil {
		log.Fatal(err)
	}
	auth, err := httpauth.New(ks, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("curl -i http://127.0.0.1:8080/hello")
	fmt.Printf("curl -i -H 'Authorization: Bearer %s' http://127.0.0.1:8080/orders/7\n", token.Reveal())
	server := http.Server{Addr: "127.0.0.1:8080", Handler: routes(auth), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}
