package adminapi

import (
	"net/http"
	"reflect"
	"strings"
)

// operation is one route: what serves it, and what the description says of it.
type operation struct {
	method, path string
	id           string // operationId
	summary      string
	description  string
	parameters   []parameter // of the query
	body         bodyType
	status       int          // of success
	result       reflect.Type // of the body of success; nil: none
	errors       []int        // beside those that every operation has
	run          func(*call) (answer, error)
}

type bodyType struct {
	of       reflect.Type // nil: there is none
	required bool
	patch    bool
}

// parameter is one of the query.
type parameter struct {
	name string
	kind paramKind
	doc  string
}

type paramKind int

const (
	text paramKind = iota
	count
	moment
	keyState
	interval
)

// changes reports whether the operation changes a key that is there, so that
// If-Match has a meaning.
func (op *operation) changes() bool {
	return op.method != http.MethodGet && op.hasID()
}

func (op *operation) hasID() bool { return strings.HasPrefix(op.path, "/keys/") }

// mediaTypes of the body, the first one preferred.
func (op *operation) mediaTypes() []string {
	if op.body.patch {
		return []string{"application/merge-patch+json", "application/json"}
	}
	return []string{"application/json"}
}

const withIfMatch = "With If-Match, only if the key has one of these revisions. "

const growing = "What gives a key power (scopes, a later expiry, enabling it) needs the whole key to lie within what you may grant. What takes power away is always allowed, but for limits, which only those change who may set them."

const unlockedMatch = "The revision is compared ahead of the change, and not in one step with it."

func operations() []operation {
	var (
		key    = reflect.TypeFor[keyView]()
		issued = reflect.TypeFor[issuedKey]()
		none   = bodyType{of: reflect.TypeFor[noMembers]()}
		usage  = reflect.TypeFor[usageAnswer]()
		during = []parameter{
			{"from", moment, "Hours that begin before it are left out. Absent: 30 days before the end, from midnight on."},
			{"to", moment, "The end: hours that begin then or later are left out. Absent: now."},
			{"by", interval, "What is summed: hours, of at most 31 days, or UTC days, at most 366."},
		}
	)
	return []operation{
		{
			method: "POST", path: "/keys", id: "create-key", summary: "Create a key",
			description: "The token is in this answer and nowhere else. Nobody makes a key with more scopes, a longer life or wider limits than they may grant, or for another owner. After unknown_outcome the key may exist: its token is in that answer.",
			body:        bodyType{of: reflect.TypeFor[createRequest](), required: true},
			status:      http.StatusCreated, result: issued, run: (*call).create,
		},
		{
			method: "GET", path: "/keys", id: "list-keys", summary: "List keys",
			description: "In order of creation, a page at a time. A page with filters examines at most 1000 keys, and may hold none though others follow: go on while next is not null.",
			parameters: []parameter{
				{"owner", text, "Only the keys of this owner."},
				{"state", keyState, "Only keys in this state."},
				{"expiring_before", moment, "Only keys that expire, or have expired, before this time."},
				{"unused_since", moment, "Only keys that were last used before this time; one that was never used counts from its creation."},
				{"cursor", text, "The next of the page before."},
				{"limit", count, "The most keys in a page."},
			},
			status: http.StatusOK, result: reflect.TypeFor[listAnswer](), errors: []int{422}, run: (*call).list,
		},
		{
			method: "GET", path: "/keys/{id}", id: "get-key", summary: "Show a key",
			status: http.StatusOK, result: key, run: (*call).get,
		},
		{
			method: "PATCH", path: "/keys/{id}", id: "update-key", summary: "Change a key",
			description: "By a JSON merge patch (RFC 7396). " + withIfMatch + growing,
			body:        bodyType{of: reflect.TypeFor[patchRequest](), required: true, patch: true},
			status:      http.StatusOK, result: key, run: (*call).patch,
		},
		{
			method: "POST", path: "/keys/{id}/rotate", id: "rotate-key", summary: "Give a key a new secret",
			description: withIfMatch + "The token is in this answer and nowhere else. A rotation hands out a token of the key, so that the whole key must lie within what you may grant; a key may rotate itself by its current secret, and not by an older one. After unknown_outcome the new token may work: it is in that answer.",
			body:        bodyType{of: reflect.TypeFor[rotateRequest](), required: true},
			status:      http.StatusOK, result: issued, run: (*call).rotate,
		},
		{
			method: "POST", path: "/keys/{id}/end-grace", id: "end-grace", summary: "End the grace of older secrets",
			description: "From now on only the current secret works. " + withIfMatch + unlockedMatch,
			body:        none, status: http.StatusOK, result: key, run: (*call).endGrace,
		},
		{
			method: "POST", path: "/keys/{id}/revoke", id: "revoke-key", summary: "Revoke a key",
			description: "For ever. The first time and reason stay. " + withIfMatch + unlockedMatch,
			body:        bodyType{of: reflect.TypeFor[revokeRequest]()}, status: http.StatusOK, result: key, run: (*call).revoke,
		},
		{
			method: "POST", path: "/keys/{id}/disable", id: "disable-key", summary: "Switch a key off",
			description: withIfMatch + "Who is no administrator can enable only what was enabled when they disabled it.",
			body:        none, status: http.StatusOK, result: key, run: (*call).disable,
		},
		{
			method: "POST", path: "/keys/{id}/enable", id: "enable-key", summary: "Switch a key on again",
			description: withIfMatch + growing,
			body:        none, status: http.StatusOK, result: key, run: (*call).enable,
		},
		{
			method: "DELETE", path: "/keys/{id}", id: "delete-key", summary: "Delete a key and every trace of it",
			description: "Revoking it leaves a record that says so. " + withIfMatch + unlockedMatch,
			status:      http.StatusNoContent, run: (*call).delete,
		},
		{
			method: "GET", path: "/keys/{id}/limits", id: "get-limits", summary: "Show what is left of the limits of a key",
			description: "Of this window of each.",
			status:      http.StatusOK, result: reflect.TypeFor[limitsAnswer](), run: (*call).limits,
		},
		{
			method: "POST", path: "/keys/{id}/reset-limits", id: "reset-limits", summary: "Forget what a key has spent of its limits",
			description: "Each window begins anew; the limits stay. For those who may set limits. " + withIfMatch + unlockedMatch,
			body:        none, status: http.StatusNoContent, run: (*call).resetLimits,
		},
		{
			method: "GET", path: "/keys/{id}/usage", id: "get-usage", summary: "Show how much a key was used",
			description: "Hours or days without lookups are left out. Who may manage the keys of all owners sees the usage of a deleted key, too, as long as the server keeps it.",
			parameters:  during,
			status:      http.StatusOK, result: usage, run: (*call).keyUsage,
		},
		{
			method: "GET", path: "/usage", id: "get-owner-usage", summary: "Show how much all keys of an owner were used",
			description: "Together, and with those that were deleted.",
			parameters:  append([]parameter{{"owner", text, "Required of who may manage the keys of all owners."}}, during...),
			status:      http.StatusOK, result: usage, run: (*call).ownerUsage,
		},
		{
			method: "GET", path: "/plans", id: "list-plans", summary: "List the plans of the server",
			description: "For those who may set limits.",
			status:      http.StatusOK, result: reflect.TypeFor[plansAnswer](), run: (*call).listPlans,
		},
		{
			method: "POST", path: "/lookup", id: "look-up-token", summary: "Look up a token",
			description: "As a service does on each request: it spends of the limits of the key, unless peek is true. A token of another owner is answered as an unknown one, unless you may manage the keys of all owners.",
			body:        bodyType{of: reflect.TypeFor[lookupRequest](), required: true},
			status:      http.StatusOK, result: reflect.TypeFor[lookupAnswer](), run: (*call).lookup,
		},
	}
}
