package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/keystore"
)

// keyView is a key as --json prints it. Scripts read it: fields are added, and
// none is renamed.
type keyView struct {
	ID           string            `json:"id"`
	Owner        string            `json:"owner"`
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	Prefix       string            `json:"prefix"`
	Scopes       []string          `json:"scopes"`
	Metadata     map[string]string `json:"metadata"`
	State        keystore.State    `json:"state"`
	CreatedAt    time.Time         `json:"created_at"`
	ExpiresAt    *time.Time        `json:"expires_at"`
	RevokedAt    *time.Time        `json:"revoked_at"`
	RevokeReason string            `json:"revoke_reason"`
	LastUsedAt   *time.Time        `json:"last_used_at"`
	Disabled     bool              `json:"disabled"`
	Generation   int               `json:"generation"`
	GraceUntil   *time.Time        `json:"grace_until"`
	Revision     uint64            `json:"revision"`
}

func viewOf(k keystore.Key, now time.Time) keyView {
	return keyView{
		ID: k.ID, Owner: k.Owner, Name: k.Name, Description: k.Description, Prefix: k.Prefix,
		Scopes:    slices.AppendSeq([]string{}, k.Scopes.All()),
		Metadata:  maps.Collect(k.Metadata.All()),
		State:     k.State(now),
		CreatedAt: k.CreatedAt, ExpiresAt: orNull(k.ExpiresAt), RevokedAt: orNull(k.RevokedAt),
		RevokeReason: k.RevokeReason, LastUsedAt: orNull(k.LastUsedAt), Disabled: k.Disabled,
		Generation: k.Generation, GraceUntil: orNull(k.GraceUntil), Revision: k.Revision(),
	}
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// fields are the key as lines of text, with the names that JSON has.
func (v keyView) fields() []field {
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

func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// printKey shows a key.
func (a *app) printKey(k keystore.Key) error {
	view := viewOf(k, time.Now())
	return a.print(view, view.fields())
}
