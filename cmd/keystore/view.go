package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// keyView is a key as --json prints it.
type keyView = keyview.KeyView

// keyFields are the key as lines of text, with the names that JSON has.
func keyFields(v keyView) []field {
	list := []field{
		{"id", v.ID},
		{"owner", shown(v.Owner)},
		{"name", shown(v.Name)},
		{"description", shown(v.Description)},
		{"prefix", shown(v.Prefix)},
		{"scopes", shown(strings.Join(v.Scopes, " "))},
	}
	for _, k := range slices.Sorted(maps.Keys(v.Metadata)) {
		list = append(list, field{"metadata", shown(k) + "=" + shown(v.Metadata[k])})
	}
	return append(list,
		field{"plan", shown(v.Plan)},
		field{"limits", shown(ownLimits(v))},
		field{"state", string(v.State)},
		field{"created_at", timeText(&v.CreatedAt)},
		field{"expires_at", timeText(v.ExpiresAt)},
		field{"revoked_at", timeText(v.RevokedAt)},
		field{"revoke_reason", shown(v.RevokeReason)},
		field{"last_used_at", timeText(v.LastUsedAt)},
		field{"disabled", strconv.FormatBool(v.Disabled)},
		field{"generation", strconv.Itoa(v.Generation)},
		field{"grace_until", timeText(v.GraceUntil)},
		field{"revision", strconv.FormatUint(v.Revision, 10)},
	)
}

// ownLimits are the limits that a key has besides those of its plan.
func ownLimits(v keyView) string {
	limits := make([]keystore.Limit, len(v.Limits))
	for i, l := range v.Limits {
		limits[i] = keystore.Limit{Name: l.Name, Requests: l.Requests, Window: time.Duration(l.Seconds) * time.Second}
	}
	return limitsText(limits)
}

func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// printKey shows a key.
func (a *app) printKey(k keystore.Key) error {
	view := keyview.Of(k, time.Now())
	return a.print(view, keyFields(view))
}
