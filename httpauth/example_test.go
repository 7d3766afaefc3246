package httpauth_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"example.com/keystore"
	"example.com/keystore/httpauth"
	"example.com/keystore/memory"
)

func Example() {
	ks, err := keystore.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ks.Close()
	token, _, err := ks.Generate(context.Background(), keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}})
	if err != nil {
		log.Fatal(err)
	}

	auth, err := httpauth.New(ks, nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", auth.Require("orders:read")(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			key, _ := httpauth.KeyFrom(r.Context())
			fmt.Fprintln(w, "orders of", key.Owner)
		})))
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, authorization := range []string{"Bearer " + token.Reveal(), "Bearer something else"} {
		r, err := http.NewRequest("GET", server.URL+"/orders", nil)
		if err != nil {
			log.Fatal(err)
		}
		r.Header.Set("Authorization", authorization)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
		fmt.Printf("%d %q\n", answer.StatusCode, answer.Header.Get("WWW-Authenticate"))
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200 ""
	// 401 "Bearer realm=\"api\", error=\"invalid_token\""
}
