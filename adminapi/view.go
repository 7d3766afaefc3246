package adminapi

import (
	"maps"
	"slices"
	"time"

	"example.com/keystore"
)

// keyView is a key in JSON: the same names and nulls as the command-line tool's.
type keyView struct {
	ID           string            `json:"id"`
	Owner        string            `json:"owner"`
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	Prefix       string            `json:"prefix" doc:"Of the token last issued."`
	Scopes       []string          `json:"scopes" nullable:"false"`
	Metadata     map[string]string `json:"metadata"`
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

// issuedKey is a key with its token, which is shown this once.
type issuedKey struct {
	Token string  `json:"token" doc:"Shown this once: it is not stored."`
	Key   keyView `json:"key"`
}

// keyAnswer answers with a key.
func keyAnswer(k keystore.Key) answer {
	return answer{header: map[string]string{"ETag": etag(k)}, body: viewOf(k, time.Now())}
}

// tokenAnswer answers with a key and its new token.
func tokenAnswer(token keystore.Token, k keystore.Key) answer {
	return answer{header: map[string]string{"ETag": etag(k)}, body: issuedKey{Token: token.Reveal(), Key: viewOf(k, time.Now())}}
}
