package httpauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// Case 50: a token that comes as a credential, or in its wrong place, is found in no
// log line, answer, error or panic.
func TestPlantedToken(t *testing.T) {
	o := *everywhere
	o.Detail, o.StripCredential, o.FailuresPerSecond, o.FailureBurst = true, true, 1e-9, 200
	var ownerError error
	s := newService(t, &o, uncached, func(k *keystore.Options) {
		k.OwnerActive = func(context.Context, string) (bool, error) { return true, ownerError }
	})
	token, key := s.generate(keystore.KeyParams{Scopes: []string{"a"}})
	secret := token[len(token)-38 : len(token)-6]
	var shown, answers bytes.Buffer
	see := func(h http.Handler, r *http.Request) int {
		w := serve(h, r)
		fmt.Fprintln(&answers, w.Code, w.Header(), w.Body)
		return w.Code
	}

	places := func() []*http.Request {
		return []*http.Request{
			newRequest("/", "Authorization: Bearer "+token), newRequest("/", "X-API-Key: "+token), newRequest("/?api_key=" + token),
			newRequest("/", "Authorization: "+token), newRequest("/", "Authorization: Basic "+token), newRequest("/", "Authorization: Bearer "+token+","), newRequest("/", "X-API-Key: "+token+"x"),
			newRequest("/?" + token), newRequest("/" + token), newRequest("/", "X-Forwarded-For: "+token), newRequest("/", "X-API-Key: "+token, "X-API-Key: "+token),
			newRequest("/?api_key="+token, "X-API-Key: "+token), newRequest("/", token+": x"), newRequest("/", "Cookie: k="+token), newRequest("/", "Authorization: Bearer "+strings.ToUpper(token)),
		}
	}
	codes := map[int]int{}
	var seen []error
	round := func(scopes ...string) {
		for _, r := range places() {
			_, err := s.Check(r, scopes...)
			if err != nil {
				seen = append(seen, err)
			}
			codes[see(s.Require("a")(greet), r)]++
			if err != nil {
				w := httptest.NewRecorder()
				s.Refuse(w, r, err)
				codes[w.Code]++
				fmt.Fprintln(&answers, w.Code, w.Header(), w.Body)
			}
		}
	}
	round("a")
	round("b")
	round(token)
	s.set(errors.New("connection refused"), 0)
	round()
	s.set(nil, 0)
	ownerError = errors.New("the directory is away")
	round()
	ownerError = nil
	_, err := s.ks.Revoke(t.Context(), key.ID, "stolen")
	require.NoError(t, err)
	round()
	for range 200 {
		s.Check(newRequest("/", "X-API-Key: "+token))
	}
	round()
	for _, status := range []int{200, 400, 401, 403, 429, 500, 503} {
		assert.Positive(t, codes[status], "no answer %d was seen: %v", status, codes)
	}

	for _, err := range seen {
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		fmt.Fprintf(&shown, "%v %+v %#v %q %v %+v %#v\n", err, err, err, err, *failure, *failure, *failure)
	}
	fmt.Fprintf(&shown, "%v %+v %#v\n", s.Auth, s.Auth, s.Auth)
	fmt.Fprintf(&shown, "%v %+v %#v\n", s.opts, s.opts, s.opts)

	// A handler that panics, and the server that logs it.
	var serverLog lockedBuffer
	bad := newService(t, everywhere)
	other := bad.key()
	server := httptest.NewUnstartedServer(bad.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		result, _ := ResultFrom(r.Context())
		panic(fmt.Sprintf("%v %+v", result, r.Context()))
	})))
	server.Config.ErrorLog = log.New(&serverLog, "", 0)
	server.Start()
	exchange(t, server.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: "+other+"\r\n\r\n")
	server.Close()
	require.Contains(t, serverLog.String(), "panic serving")

	logged := s.log.String()
	require.NotEmpty(t, logged)
	for name, text := range map[string]string{"log": logged, "answers": answers.String(), "errors": shown.String()} {
		for i := 0; i+8 <= len(secret); i++ {
			require.NotContains(t, text, secret[i:i+8], "in the %s", name)
			require.NotContains(t, strings.ToUpper(text), strings.ToUpper(secret[i:i+8]), "in the %s", name)
		}
	}
	require.NotContains(t, serverLog.String(), other[len(other)-38:len(other)-6], "in the server's log")
}
