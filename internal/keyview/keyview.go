// Package keyview is what a key looks like in JSON, in the HTTP API and to the
// command-line tool alike.
package keyview

import (
	"maps"
	"slices"
	"time"

	"example.com/keystore"
)

// KeyView is a key in JSON. Programs and scripts read it: fields are added, and
// none is renamed. The tags beside the names are for the API's description.
type KeyView struct {
	ID           string            `json:"id"`
	Owner        string            `json:"owner"`
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	Prefix       string            `json:"prefix" doc:"Of the token last issued."`
	Scopes       []string          `json:"scopes" nullable:"false"`
	Metadata     map[string]string `json:"metadata"`
	Plan         string            `json:"plan" doc:"A plan of the server, whose limits hold for the key; empty: none."`
	Limits       []Limit           `json:"limits" nullable:"false" doc:"Its own, which take the place of the plan's of the same name."`
	State        keystore.State    `json:"state" enum:"active,disabled,expired,revoked"`
	CreatedAt    time.Time         `json:"created_at"`
	ExpiresAt    *time.Time        `json:"expires_at" doc:"It is valid before this time; null: for ever."`
	RevokedAt    *time.Time        `json:"revoked_at"`
	RevokeReason string            `json:"revoke_reason"`
	LastUsedAt   *time.Time        `json:"last_used_at" doc:"It lags by half a minute, unless the server is set otherwise."`
	Disabled     bool              `json:"disabled"`
	Generation   int               `json:"generation" format:"int32" doc:"1, and one more per rotation."`
	GraceUntil   *time.Time        `json:"grace_until" doc:"When the last older secret stops working; null: none is accepted."`
	Revision     uint64            `json:"revision" doc:"It counts the changes, and is the entity tag in quotation marks."`
}

// Of returns the view of a key, whose state is that at now.
func Of(k keystore.Key, now time.Time) KeyView {
	return KeyView{
		ID: k.ID, Owner: k.Owner, Name: k.Name, Description: k.Description, Prefix: k.Prefix,
		Scopes:    slices.AppendSeq([]string{}, k.Scopes.All()),
		Metadata:  maps.Collect(k.Metadata.All()),
		Plan:      k.Plan,
		Limits:    Limits(k.Limits.All()),
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
