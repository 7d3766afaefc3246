package httpauth

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzCredential: what is taken for the credential is all that there is, and is
// gone once it is removed.
func FuzzCredential(f *testing.F) {
	s := newService(f, everywhere)
	f.Add("Bearer sk_test_x", "", "", byte(1))
	f.Add("", "sk_test_x", "", byte(2))
	f.Add("", "", "a=1&api_key=sk_test_x&b=%7e", byte(0))
	f.Add("Basic dTpw", "sk_test_x", "api%5fkey=y", byte(3))
	f.Add("bearer  a,b", "", "api_key", byte(1))
	f.Fuzz(func(t *testing.T, authorization, key, query string, fields byte) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/", RawQuery: query}, RequestURI: "/?" + query, Header: http.Header{}}
		if fields&1 != 0 {
			r.Header.Add("Authorization", authorization)
		}
		if fields&2 != 0 {
			r.Header.Add("X-Api-Key", key)
		}
		if fields&4 != 0 {
			r.Header.Add("X-Api-Key", key)
		}
		token, private, failure := s.credential(r)
		values, err := url.ParseQuery(query)
		inQuery := len(values["api_key"]) // net/url may see fewer than we do, never more
		places := inQuery
		for bit := range 3 {
			if fields>>bit&1 != 0 {
				places++
			}
		}
		if failure == nil {
			require.NotEmpty(t, token)
			require.NotContains(t, token, ",")
			require.LessOrEqual(t, places, 1)
			require.Equal(t, private, fields&1 == 0)
			switch {
			case !private:
				require.True(t, strings.EqualFold(authorization[:7], "Bearer "))
				require.True(t, strings.HasSuffix(authorization, token))
			case fields&6 != 0:
				require.Equal(t, key, token)
			default:
				require.Contains(t, query, "="+token)
			}
		} else {
			require.Empty(t, token)
			require.Contains(t, []int{400, 401}, failure.Status)
		}

		s.strip(r)
		_, _, failure = s.credential(r)
		require.Equal(t, CodeMissingCredentials, failure.Code)
		left, leftErr := url.ParseQuery(r.URL.RawQuery)
		require.Empty(t, left["api_key"])
		if err == nil {
			require.NoError(t, leftErr)
			delete(values, "api_key")
			require.Equal(t, values, left)
		}
		require.Equal(t, r.URL.RawQuery, strings.TrimPrefix(strings.TrimPrefix(r.RequestURI, "/"), "?"))
	})
}
