package main

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"

	"example.com/keystore/httpauth"
)

// maxOrders is how many orders an owner may have here.
const maxOrders = 1000

// order is what the service keeps.
type order struct {
	ID   int    `json:"id"`
	Item string `json:"item"`
}

// orders are those of each owner, in memory.
type orders struct {
	mu      sync.Mutex
	byOwner map[string][]order
}

// routes has a public page, and orders for keys that may read or write them.
func routes(auth *httpauth.Auth) http.Handler {
	o := &orders{byOwner: make(map[string][]order)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "GET /orders lists your orders, POST /orders with {\"item\":\"…\"} adds one. Both need an API key.\n")
	})
	mux.Handle("GET /orders", auth.Require("orders:read")(http.HandlerFunc(o.list)))
	mux.Handle("POST /orders", auth.Require("orders:write")(http.HandlerFunc(o.add)))
	return mux
}

func (o *orders) list(w http.ResponseWriter, r *http.Request) {
	key, _ := httpauth.KeyFrom(r.Context())
	o.mu.Lock()
	mine := slices.Clone(o.byOwner[key.Owner])
	o.mu.Unlock()
	writeJSON(w, http.StatusOK, append([]order{}, mine...)) // [], not null
}

func (o *orders) add(w http.ResponseWriter, r *http.Request) {
	var wanted order
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	if err := body.Decode(&wanted); err != nil || wanted.Item == "" {
		http.Error(w, `the body is not {"item":"…"} of at most 4 KiB`, http.StatusBadRequest)
		return
	}
	key, _ := httpauth.KeyFrom(r.Context())
	o.mu.Lock()
	n := len(o.byOwner[key.Owner])
	if n < maxOrders {
		wanted.ID = n + 1
		o.byOwner[key.Owner] = append(o.byOwner[key.Owner], wanted)
	}
	o.mu.Unlock()
	if n >= maxOrders {
		http.Error(w, "you have too many orders", http.StatusConflict)
		return
	}
	writeJSON(w, http.StatusCreated, wanted)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
