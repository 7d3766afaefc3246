// Forwardauth is a service that knows nothing of API keys: a proxy in front of it asks
// keystore about each request (docs/forward-auth.md). It could be in any language. It
// answers with what it was told.
//
//	go run ./examples/forwardauth [ADDRESS]
package main

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

func main() {
	addr := "127.0.0.1:9000" // only the proxy may reach it: whoever else did could name any key
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	server := &http.Server{
		Addr: addr, Handler: http.HandlerFunc(answer),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	log.Print("listening on http://", addr)
	log.Fatal(server.ListenAndServe())
}

func answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		fmt.Fprintln(w, "ok")
		return
	}
	owner, err := url.PathUnescape(r.Header.Get("X-Key-Owner")) // keystore escapes what a header cannot hold
	if err != nil {
		http.Error(w, "the proxy sent a malformed X-Key-Owner", http.StatusInternalServerError)
		return
	}
	body, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return // the client is gone
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s %s, %d bytes of body\n", r.Method, r.URL.EscapedPath(), body)
	fmt.Fprintf(w, "key %s of %s\n", r.Header.Get("X-Key-Id"), cmp.Or(owner, "nobody"))
	fmt.Fprintf(w, "scopes: %s\n", r.Header.Get("X-Key-Scopes"))
	for _, name := range []string{"Authorization", "X-Api-Key"} {
		if r.Header.Get(name) != "" {
			fmt.Fprintf(w, "%s came through: the proxy should not pass it on\n", name)
		}
	}
}
