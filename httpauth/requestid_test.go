package httpauth

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/keystore"
)

func TestRequestID(t *testing.T) {
	secret := strings.Repeat("aB3", 13)[:38]
	for field, want := range map[string]string{
		"":                       "",
		"a":                      "a",
		"req-1.2_3":              "req-1.2_3",
		strings.Repeat("a-", 32): strings.Repeat("a-", 32),
		strings.Repeat("a-", 33): "",
		secret[:37]:              secret[:37],
		secret:                   "",
		"ks_" + secret:           "",
		"two words":              "",
		"a,b":                    "",
		"ü":                      "",
		"a\x00":                  "",
	} {
		id, ok := RequestID(newRequest("/", "X-Request-Id: "+field))
		assert.Equal(t, want, id, "%q", field)
		assert.Equal(t, want != "", ok, "%q", field)
	}
	_, ok := RequestID(newRequest("/", "X-Request-Id: a", "X-Request-Id: b"))
	assert.False(t, ok, "two names are none")
	_, ok = RequestID(newRequest("/"))
	assert.False(t, ok)

	r := newRequest("/", "X-Request-Id: client")
	id, _ := RequestID(r.WithContext(keystore.WithRequestID(r.Context(), "around")))
	assert.Equal(t, "around", id)
	_, ok = RequestID(r.WithContext(keystore.WithRequestID(r.Context(), secret)))
	assert.False(t, ok, "nor is it the client's, whom the program around overruled")
}
