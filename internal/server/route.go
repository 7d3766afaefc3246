package server

import (
	"net/http"
	"slices"
	"strings"
)

const apiPath = "/v1"

// routeOf names what a request is for, in one of a few words: paths may hold key
// ids, or a token in the wrong place.
func routeOf(r *http.Request) string {
	path := r.URL.Path
	switch {
	case isVerify(r):
		return verifyPath
	case path == "/healthz", path == "/readyz", path == "/metrics":
		return path
	}
	rest, isAPI := strings.CutPrefix(path, apiPath+"/")
	if !isAPI {
		return "other"
	}
	switch parts := strings.Split(rest, "/"); {
	case len(parts) == 1 && slices.Contains([]string{"keys", "lookup", "plans", "usage", "openapi.json", "openapi.yaml"}, rest):
		return path
	case parts[0] != "keys":
	case len(parts) == 2:
		return apiPath + "/keys/{id}"
	case len(parts) == 3 && slices.Contains([]string{"rotate", "end-grace", "revoke", "disable", "enable", "limits", "reset-limits", "usage"}, parts[2]):
		return apiPath + "/keys/{id}/" + parts[2]
	}
	return apiPath + "/other"
}

// methodOf is the method, if it is one of those that are known.
func methodOf(r *http.Request) string {
	if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, r.Method) {
		return r.Method
	}
	return "other"
}
