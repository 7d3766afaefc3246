package adminapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// TestDescriptionIsCommitted: the file in this folder is what the server says.
func TestDescriptionIsCommitted(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, httptest.NewRequest("GET", "/v1/openapi.yaml", nil))
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "application/yaml", w.Header().Get("Content-Type"))
	committed, err := os.ReadFile("openapi.yaml")
	require.NoError(t, err)
	assert.Equal(t, string(committed), w.Body.String(), "go generate ./adminapi writes it anew")
}

// TestDescriptionOfOwnLogins: it promises nothing of keys where the program says who
// is calling.
func TestDescriptionOfOwnLogins(t *testing.T) {
	d := readDescription(t, newSite(t, nil, keystore.Options{}, as(everything)).http)
	assert.NotContains(t, d.whole, "security")
	assert.NotContains(t, d.whole["components"], "securitySchemes")
	d = readDescription(t, newSite(t, nil, keystore.Options{}, nil).http)
	assert.Contains(t, d.whole, "security")
}

// description is the OpenAPI document as the server serves it, read by another
// library than the one that made it.
type description struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Parameters  []struct {
			Name, In string
			Required bool
			Schema   map[string]any
		}
		RequestBody *struct {
			Required bool
			Content  map[string]any
		} `json:"requestBody"`
		Responses map[string]struct {
			Content map[string]any
			Headers map[string]any
		}
	}
	whole   map[string]any
	schemas *jsonschema.Compiler
}

func readDescription(t testing.TB, h http.Handler) *description {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/v1/openapi.json", nil))
	require.Equal(t, http.StatusOK, w.Code)
	raw := w.Body.Bytes()
	var d description
	require.NoError(t, json.Unmarshal(raw, &d))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	d.whole = doc.(map[string]any)
	d.schemas = jsonschema.NewCompiler()
	d.schemas.DefaultDraft(jsonschema.Draft2020)
	d.schemas.AssertFormat()
	require.NoError(t, d.schemas.AddResource("api.json", doc))
	return &d
}

// schema compiles the schema that a pointer into the document leads to.
func (d *description) schema(t testing.TB, steps ...string) *jsonschema.Schema {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	for i := range steps {
		steps[i] = escape.Replace(steps[i])
	}
	s, err := d.schemas.Compile("api.json#/" + strings.Join(steps, "/"))
	require.NoError(t, err)
	return s
}

// TestDescription: it names each operation, each has a success and the problems
// that all have in common, and every schema is one by JSON Schema's own rules.
func TestDescription(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	d := readDescription(t, s.http)
	assert.Equal(t, "3.1.0", d.whole["openapi"])
	described := 0
	for path, methods := range d.Paths {
		for method, op := range methods {
			described++
			if strings.HasPrefix(path, "/openapi") {
				continue
			}
			statuses := []string{"400", "401", "403", "422", "429", "503"}
			for _, status := range statuses {
				assert.Contains(t, op.Responses, status, op.OperationID)
			}
			for status, response := range op.Responses {
				n, err := strconv.Atoi(status)
				require.NoError(t, err)
				for media := range response.Content {
					assert.Equal(t, n >= 400, media == "application/problem+json", "%s %s", op.OperationID, status)
					d.schema(t, "paths", path, method, "responses", status, "content", media, "schema")
				}
			}
			if op.RequestBody != nil {
				for media := range op.RequestBody.Content {
					d.schema(t, "paths", path, method, "requestBody", "content", media, "schema")
				}
			}
		}
	}
	assert.Equal(t, len(operations())+2, described)
	// Schemas that the operations do not lead to would be a leak of how it is made.
	used := map[string]bool{}
	raw, err := json.Marshal(d.whole)
	require.NoError(t, err)
	schemas := d.whole["components"].(map[string]any)["schemas"].(map[string]any)
	for name := range schemas {
		used[name] = strings.Contains(string(raw), `"#/components/schemas/`+name+`"`)
		assert.True(t, used[name], name)
	}
}
