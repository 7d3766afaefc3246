package adminapi

import (
	"errors"

	"example.com/keystore"
)

type lookupRequest struct {
	Token  string   `json:"token" doc:"It is looked up as a service would, and counts as a use."`
	Scopes []string `json:"scopes,omitempty" nullable:"false" doc:"All of them must be covered." pattern:"^[0-9A-Za-z._-]+(:[0-9A-Za-z._-]+)*$" maxLength:"128"`
}

// lookupAnswer is 200 for a token that is refused, too: the lookup succeeded.
type lookupAnswer struct {
	Valid bool     `json:"valid"`
	Code  string   `json:"code" doc:"valid; for administrators, the exact reason of a refusal (such as unknown_key, wrong_secret, expired); for others, missing_scope where the key is theirs, and else invalid."`
	Key   *keyView `json:"key,omitempty" doc:"Of a valid token."`
}

// The codes beside the Reasons of keystore.
const (
	codeValid   = "valid"
	codeInvalid = "invalid"
)

// lookup tells an administrator everything, and the holder of a key nothing of
// another owner's: that answer is the one for an unknown token.
func (c *call) lookup() (answer, error) {
	var req lookupRequest
	if err := decode(c.body, &req); err != nil {
		return answer{}, err
	}
	found, err := c.ks.LookupWith(c.r.Context(), req.Token, keystore.LookupParams{Scopes: req.Scopes})
	var refused *keystore.LookupError
	own := func(owner string) bool { return c.grant.Owner == "" || c.grant.Owner == owner }
	switch {
	case err == nil && own(found.Key.Owner):
		key := c.view(found.Key)
		return answer{body: lookupAnswer{Valid: true, Code: codeValid, Key: &key}}, nil
	case err == nil:
		return answer{body: lookupAnswer{Code: codeInvalid}}, nil
	case !errors.Is(err, keystore.ErrUnauthenticated) && !errors.Is(err, keystore.ErrMissingScope), !errors.As(err, &refused):
		return answer{}, err
	}
	code := codeInvalid
	if c.grant.Owner == "" || refused.Reason == keystore.ReasonMissingScope && own(refused.Owner) {
		code = string(refused.Reason)
	}
	return answer{body: lookupAnswer{Code: code}}, nil
}
