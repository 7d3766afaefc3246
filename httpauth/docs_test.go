package httpauth

import (
	"os"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/middleware.md names every option and every code.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/middleware.md")
	require.NoError(t, err)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		assert.Contains(t, string(page), "| `"+f.Name+"` |")
	}
	for _, code := range []string{CodeMissingCredentials, CodeInvalidRequest, CodeInvalidToken, CodeInsufficientScope, CodeThrottled, CodeRateLimited, CodeMisconfigured, CodeUnavailable} {
		assert.Contains(t, string(page), "| `"+code+"` |")
	}
}
