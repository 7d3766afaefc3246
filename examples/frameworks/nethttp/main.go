// Nethttp protects a route of the standard library's mux.
package main

import (
	"fmt"
	"net/http"

	"example.com/keystore/examples/frameworks/internal/serve"
	"example.com/keystore/httpauth"
)

func main() { serve.Routes(routes) }

func routes(auth *httpauth.Auth) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", hello)
	mux.Handle("GET /orders/{id}", auth.Require("orders:read")(http.HandlerFunc(order)))
	return mux
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }

func order(w http.ResponseWriter, r *http.Request) {
	key, _ := httpauth.KeyFrom(r.Context())
	fmt.Fprintln(w, "order", r.PathValue("id"), "of", key.Owner)
}
