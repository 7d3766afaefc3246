package adminapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// describe returns the OpenAPI 3.1 description of what is mounted at base, in JSON
// and in YAML. It says how callers prove who they are only where that is by a key.
// huma makes it of the operations and their types; requests are not served by
// huma: see docs/design.md.
func describe(base string, byKey bool) (inJSON, inYAML []byte) {
	types := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	api := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "keystore admin API", Version: "1",
			Description: "Manages API keys. Errors are problem details (RFC 9457) whose code is for programs. Every answer has an X-Request-Id, which is the request's where that is 1 to 64 characters of [0-9A-Za-z._-] that could not be a token. Paths and methods that are not described are answered 404 and 405 in the same way; what is no request of HTTP, or has headers that are too long, is answered by the server around.",
			License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers: []*huma.Server{{URL: cmp.Or(base, "/")}},
		Components: &huma.Components{
			Schemas: types,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"bearer": {Type: "http", Scheme: "bearer", Description: "A key with the scope keystore:admin, or keystore:self for the keys of its owner."},
				"header": {Type: "apiKey", In: "header", Name: "X-API-Key", Description: "The same in another field. Only one of the two is sent."},
			},
		},
		Security: []map[string][]string{{"bearer": {}}, {"header": {}}},
	}
	if !byKey {
		api.Components.SecuritySchemes, api.Security = nil, nil
	}
	problems := types.Schema(reflect.TypeFor[problem](), true, "")
	for _, op := range operations() {
		api.AddOperation(op.describe(types, problems))
	}
	for name, media := range map[string]string{"json": "application/json", "yaml": "application/yaml"} {
		api.AddOperation(&huma.Operation{
			Method: "GET", Path: "/openapi." + name, OperationID: "openapi-" + name, Summary: "This description, in " + name,
			Security:  []map[string][]string{{}},
			Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{media: {}}}},
		})
	}
	inJSON, err := json.MarshalIndent(api, "", "  ")
	inYAML, more := api.YAML()
	if err = errors.Join(err, more); err != nil {
		panic("adminapi: " + err.Error()) // an operation that cannot be described
	}
	return append(inJSON, '\n'), inYAML
}

func (op *operation) describe(types huma.Registry, problems *huma.Schema) *huma.Operation {
	d := &huma.Operation{
		Method: op.method, Path: op.path, OperationID: op.id, Summary: op.summary, Description: op.description,
		Responses: map[string]*huma.Response{strconv.Itoa(op.status): op.success(types)},
	}
	if op.hasID() {
		d.Parameters = append(d.Parameters, &huma.Param{Name: "id", In: "path", Required: true, Description: "The id of a key: 16 letters and digits.", Schema: &huma.Schema{Type: "string"}})
	}
	if op.changes() {
		d.Parameters = append(d.Parameters, &huma.Param{Name: "If-Match", In: "header", Description: `Entity tags, such as "7", or *.`, Schema: &huma.Schema{Type: "string", Pattern: `^(\*|(W/)?"[^"]*"( *, *(W/)?"[^"]*")*)$`}})
	}
	for _, p := range op.parameters {
		d.Parameters = append(d.Parameters, &huma.Param{Name: p.name, In: "query", Description: p.doc, Schema: p.kind.schema()})
	}
	if op.body.of != nil {
		d.RequestBody = &huma.RequestBody{Required: op.body.required, Content: map[string]*huma.MediaType{}}
		for _, media := range op.mediaTypes() {
			d.RequestBody.Content[media] = &huma.MediaType{Schema: types.Schema(op.body.of, true, "")}
		}
	}
	for _, status := range op.failures() {
		d.Responses[strconv.Itoa(status)] = failure(status, problems)
	}
	return d
}

// failures are the statuses of problems that the operation may answer with.
func (op *operation) failures() []int {
	all := append([]int{400, 401, 403, 422, 429, 503}, op.errors...)
	if op.hasID() {
		all = append(all, 404)
	}
	if op.changes() {
		all = append(all, 409, 412)
	}
	if op.body.of != nil {
		all = append(all, 408, 413, 415)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (op *operation) success(types huma.Registry) *huma.Response {
	r := &huma.Response{Description: http.StatusText(op.status)}
	if op.result == nil {
		return r
	}
	r.Content = map[string]*huma.MediaType{"application/json": {Schema: types.Schema(op.result, true, "")}}
	if op.result == reflect.TypeFor[keyView]() || op.result == reflect.TypeFor[issuedKey]() {
		r.Headers = map[string]*huma.Header{"ETag": {Description: "The revision of the key, in quotation marks.", Schema: &huma.Schema{Type: "string"}}}
	}
	if op.status == http.StatusCreated {
		r.Headers["Location"] = &huma.Header{Description: "The path of the key.", Schema: &huma.Schema{Type: "string"}}
	}
	return r
}

// headers of problems, by status.
var headers = map[int]map[string]string{
	401: {"WWW-Authenticate": "As RFC 6750 says."},
	429: {
		"Retry-After":      "Seconds until attempts from this address are heard again, or with rate_limited until the limits of the presented key leave enough.",
		"RateLimit":        "With rate_limited, what is left of each limit of the presented key, and seconds until its window ends (draft-ietf-httpapi-ratelimit-headers).",
		"RateLimit-Policy": "With rate_limited, the limits of the presented key.",
	},
	503: {"Retry-After": "Seconds to wait, where trying again may help."},
}

func failure(status int, problems *huma.Schema) *huma.Response {
	r := &huma.Response{
		Description: http.StatusText(status),
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problems}},
	}
	for name, what := range headers[status] {
		if r.Headers == nil {
			r.Headers = map[string]*huma.Header{}
		}
		r.Headers[name] = &huma.Header{Description: what, Schema: &huma.Schema{Type: "string"}}
	}
	return r
}

func (k paramKind) schema() *huma.Schema {
	switch k {
	case count:
		least, most := 1.0, float64(maxLimit)
		return &huma.Schema{Type: "integer", Minimum: &least, Maximum: &most, Default: defaultLimit}
	case moment:
		return &huma.Schema{Type: "string", Format: "date-time"}
	case interval:
		return &huma.Schema{Type: "string", Enum: []any{"hour", "day"}, Default: "day"}
	case keyState:
		s := &huma.Schema{Type: "string"}
		for _, state := range states {
			s.Enum = append(s.Enum, state)
		}
		return s
	}
	least := 1
	return &huma.Schema{Type: "string", MinLength: &least}
}

// Schema tells huma what JSON a timestamp is. It is called on a zero value.
func (timestamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Format: "date-time"}
}

// Schema tells huma what JSON seconds are.
func (seconds) Schema(huma.Registry) *huma.Schema {
	least, most := 0.0, float64(maxSeconds)
	return &huma.Schema{Type: "integer", Minimum: &least, Maximum: &most}
}

// Schema tells huma what JSON a wholeNumber is. Fields narrow it by their tags.
func (wholeNumber) Schema(huma.Registry) *huma.Schema {
	least, most := 0.0, float64(keystore.MaxRequests)
	return &huma.Schema{Type: "integer", Minimum: &least, Maximum: &most}
}

// Schema tells huma what JSON limits are.
func (limitList) Schema(types huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: types.Schema(reflect.TypeFor[keyview.Limit](), true, "")}
}

// Schema tells huma what JSON entries are.
func (entries) Schema(types huma.Registry) *huma.Schema {
	return types.Schema(reflect.TypeFor[map[string]string](), false, "")
}

// Schema tells huma what JSON the value is; or it is null.
func (o optional[T]) Schema(types huma.Registry) *huma.Schema {
	s := *types.Schema(reflect.TypeFor[T](), false, "")
	s.Nullable = true
	return &s
}

// TransformSchema lets the members of problems grow (RFC 9457, section 3.2).
func (problem) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.AdditionalProperties = true
	return s
}
