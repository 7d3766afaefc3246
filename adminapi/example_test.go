package adminapi_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"example.com/keystore"
	"example.com/keystore/adminapi"
	"example.com/keystore/memory"
)

// Out of the box, a key of the store with the scope keystore:admin manages all keys.
func Example() {
	ks, err := keystore.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ks.Close()
	admin, _, err := ks.Generate(context.Background(), keystore.KeyParams{Owner: "root", Scopes: []string{adminapi.ScopeAdmin}, AllowReserved: true})
	if err != nil {
		log.Fatal(err)
	}

	api, err := adminapi.New(ks, nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", http.StripPrefix("/v1", api))

	server := httptest.NewServer(mux)
	defer server.Close()
	req, err := http.NewRequest("POST", server.URL+"/v1/keys", strings.NewReader(`{"owner": "alice", "scopes": ["orders:read"]}`))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+admin.Reveal())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 201 Created
}

// A program with logins of its own says who is calling, and what they may do.
func ExampleOptions() {
	ks, err := keystore.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ks.Close()

	api, err := adminapi.New(ks, &adminapi.Options{
		BasePath: "/account",
		Authorize: func(r *http.Request) (adminapi.Grant, error) {
			user := userOf(r) // a session of yours
			if user == "" {
				return adminapi.Grant{}, adminapi.ErrForbidden
			}
			return adminapi.Grant{
				Actor:     user,
				Owner:     user,                 // no key of anybody else
				Scopes:    []string{"orders:*"}, // what their keys may have
				ExpiresAt: time.Now().AddDate(1, 0, 0),
			}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	for _, body := range []string{`{"scopes": ["orders:read"]}`, `{"scopes": ["billing:read"]}`, `{"owner": "bob"}`} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/keys", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		api.ServeHTTP(w, r)
		fmt.Println(body, w.Code)
	}
	// Output:
	// {"scopes": ["orders:read"]} 201
	// {"scopes": ["billing:read"]} 403
	// {"owner": "bob"} 403
}

func userOf(*http.Request) string { return "alice" }
