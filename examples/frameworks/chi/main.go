// Chi protects a route of github.com/go-chi/chi: Require is middleware as chi
// expects it.
package main

import (
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"

	"example.com/keystore/examples/frameworks/internal/serve"
	"example.com/keystore/httpauth"
)

func main() { serve.Routes(routes) }

func routes(auth *httpauth.Auth) http.Handler {
	router := chi.NewRouter()
	router.Get("/hello", hello)
	router.With(auth.Require("orders:read")).Get("/orders/{id}", order)
	return router
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }

func order(w http.ResponseWriter, r *http.Request) {
	key, _ := httpauth.KeyFrom(r.Context())
	fmt.Fprintln(w, "order", chi.URLParam(r, "id"), "of", key.Owner)
}
