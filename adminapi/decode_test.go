package adminapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestCheckJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "",
		`{"a":{"b":1},"b":[{"a":1},{"a":2}],"c":"a"}`: "",
		`{"a":"\ud83d\ude00"}`:                        "",
		`{"a":"\\ud800"}`:                             "",
		`{"a":"�"}`:                                   "",
		`{"a":1,"a":2}`:                               "a name comes twice in one object",
		`{"a":1,"\u0061":2}`:                          "a name comes twice in one object",
		`{"x":[{"a":{},"b":1,"b":2}]}`:                "a name comes twice in one object",
		`{"a":["a","a"],"b":{"a":1},"a":1}`:           "a name comes twice in one object",
		`{"a":"\ud800"}`:                              "an escape is half of a surrogate pair",
		`{"a":"\ude00"}`:                              "an escape is half of a surrogate pair",
		`{"a":"\ud800A"}`:                             "an escape is half of a surrogate pair",
		`{"a":"\ud800\u0041"}`:                        "an escape is half of a surrogate pair",
		`{"\uDFFF":1}`:                                "an escape is half of a surrogate pair",
		"{\"a\":\"\xff\"}":                            "it is not UTF-8",
		`{"a":01}`:                                    "its syntax is wrong",
		`{"a":1,}`:                                    "its syntax is wrong",
		`{"a":1} x`:                                   "its syntax is wrong",
		`{"a":1} {}`:                                  "its syntax is wrong",
		"\ufeff{}":                                    "its syntax is wrong",
		strings.Repeat("[", 20000) + strings.Repeat("]", 20000): "its syntax is wrong", // too deep
	} {
		err := checkJSON([]byte(text))
		if want == "" {
			assert.NoError(t, err, text)
			continue
		}
		assert.EqualError(t, err, want, "%.40q", text)
	}
}

func TestDecodeNumbersAndTimes(t *testing.T) {
	for text, want := range map[string]time.Duration{"90": 90 * time.Second, "90.0": 90 * time.Second, "9e1": 90 * time.Second, "9223372036": time.Duration(maxSeconds) * time.Second, "-0": 0} {
		var s seconds
		require.NoError(t, json.Unmarshal([]byte(text), &s), text)
		assert.Equal(t, want, s.Duration)
	}
	for _, text := range []string{"-1", "0.5", "9223372037", "1e400", `"90"`, "true", "[]"} {
		assert.Error(t, json.Unmarshal([]byte(text), new(seconds)), text)
	}
	for text, want := range map[string]string{
		`"2027-01-31T12:00:00Z"`:             "2027-01-31T12:00:00Z",
		`"2027-01-31T14:00:00.123999+02:00"`: "2027-01-31T12:00:00.123Z",
	} {
		var at timestamp
		require.NoError(t, json.Unmarshal([]byte(text), &at), text)
		assert.Equal(t, want, at.Format(time.RFC3339Nano))
	}
	for _, text := range []string{`"2027-01-31"`, `"2027-01-31 12:00:00Z"`, `"2027-02-30T12:00:00Z"`, `"2027-01-31T12:00:00"`, `1`, `""`, `"0001-01-01T00:00:00Z"`, `"0001-01-01T02:00:00+02:00"`, `"0001-01-01T00:00:00.0009Z"`} {
		assert.Error(t, json.Unmarshal([]byte(text), new(timestamp)), text)
	}
}

// mergePatch is the algorithm of RFC 7396, section 2, on any JSON.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, ok := target.(map[string]any)
	if !ok {
		out = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = mergePatch(out[name], value)
		}
	}
	return out
}

// asJSON is a key as the merge patch sees it: what is zero is not there.
func asJSON(t testing.TB, c keystore.Changes) map[string]any {
	out := map[string]any{}
	if c.Name != "" {
		out["name"] = c.Name
	}
	if c.Description != "" {
		out["description"] = c.Description
	}
	if len(c.Scopes) > 0 {
		out["scopes"] = c.Scopes
	}
	if len(c.Metadata) > 0 {
		out["metadata"] = c.Metadata
	}
	if c.Plan != "" {
		out["plan"] = c.Plan
	}
	if len(c.Limits) > 0 {
		out["limits"] = c.Limits
	}
	if !c.ExpiresAt.IsZero() {
		out["expires_at"] = c.ExpiresAt
	}
	raw, err := json.Marshal(out)
	require.NoError(t, err)
	var plain map[string]any
	require.NoError(t, json.Unmarshal(raw, &plain))
	return plain
}

// FuzzMergePatch compares what a patch does to a key with what RFC 7396 says of its
// JSON, and asks that nothing is accepted that another reader might take for
// something else.
func FuzzMergePatch(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"name":"x","description":null}`, `{"scopes":["a","b:*"],"metadata":{"a":null,"c":"3"}}`,
		`{"metadata":null,"scopes":null,"expires_at":null}`, `{"expires_at":"2027-01-31T12:00:00Z"}`,
		`{"name":null,"name":"x"}`, `{"NAME":"x"}`, `{"metadata":{"keystore:disabled-by":"self"}}`,
		`{"metadata":{"a":{"b":1}}}`, `{"name":"\ud800"}`, "{\"name\":\"\xff\"}", `[]`, `null`, `{"scopes":[null]}`, `{"metadata":{"":""}}`,
		`{"plan":"free","limits":[{"name":"day","requests":1e2,"window_seconds":86400.0}]}`, `{"plan":null,"limits":null}`, `{"limits":[],"plan":""}`,
		`{"limits":[{"name":"a","requests":1,"window_seconds":1,"x":0}]}`, `{"limits":[{"Name":"a","requests":1,"window_seconds":1}]}`, `{"limits":[null]}`,
		`{"limits":[{"name":"a","requests":1,"requests":2,"window_seconds":1}]}`, `{"limits":[{"name":null,"requests":-1,"window_seconds":0.5}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodePatch(body)
		if err != nil {
			var refused problem
			require.ErrorAs(t, err, &refused)
			require.Contains(t, []int{400, 422}, refused.Status)
			return
		}
		require.True(t, utf8.Valid(body))
		key := keystore.Changes{
			Name: "n", Description: "d", Scopes: []string{"a", "b"}, ExpiresAt: time.Unix(1800000000, 0).UTC(),
			Metadata: map[string]string{"a": "1", "b": "2"}, Plan: "pro", Limits: perDay(5),
		}
		want := asJSON(t, key)
		p.apply(&key)
		if len(bytes.TrimSpace(body)) > 0 {
			var patch any
			require.NoError(t, json.Unmarshal(body, &patch))
			want = mergePatch(want, patch).(map[string]any)
		}
		got := asJSON(t, key)
		for name, value := range want { // what is empty is what is not there
			switch v := value.(type) {
			case string:
				if at, err := time.Parse(time.RFC3339, v); name == "expires_at" && err == nil {
					want[name] = at.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
				}
				if v == "" {
					delete(want, name)
				}
			case []any:
				for i := range v { // null is no scope, and refused when it is written
					if v[i] == nil {
						v[i] = ""
					}
				}
				if len(v) == 0 {
					delete(want, name)
				}
			case map[string]any:
				if len(v) == 0 {
					delete(want, name)
				}
			}
		}
		require.Equal(t, want, got)
	})
}

// FuzzIfMatch: no text of the field is more than a list of revisions.
func FuzzIfMatch(f *testing.F) {
	for _, seed := range []string{`*`, `"7"`, `W/"7", "8"`, `"a,b",,"9"`, `"7`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		p, err := parseIfMatch([]string{field})
		if err != nil {
			return
		}
		require.True(t, p.any || strings.Count(field, `"`) >= 2)
		for _, revision := range p.tags {
			require.Contains(t, field, etagOf(revision))
		}
	})
}
