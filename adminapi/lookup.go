package adminapi

import (
	"errors"
	"math"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

type lookupRequest struct {
	Token  string       `json:"token" doc:"It is looked up as a service would, and counts as a use, unless peek is true."`
	Scopes []string     `json:"scopes,omitempty" nullable:"false" doc:"All of them must be covered." pattern:"^[0-9A-Za-z._-]+(:[0-9A-Za-z._-]+)*$" maxLength:"128"`
	Cost   *wholeNumber `json:"cost,omitempty" doc:"That is spent of the key's limits; absent: 1." minimum:"1" maximum:"1000000000"`
	Peek   bool         `json:"peek,omitempty" doc:"true: the answer is the same, and nothing is spent or counted."`
}

// lookupAnswer is 200 for a token that is refused, too: the lookup succeeded.
type lookupAnswer struct {
	Valid           bool                 `json:"valid"`
	Code            string               `json:"code" doc:"valid; for administrators, the exact reason of a refusal (such as unknown_key, wrong_secret, expired); for others, missing_scope or rate_limited where the key is theirs, and else invalid."`
	Key             *keyView             `json:"key,omitempty" doc:"Of a valid token."`
	Limits          []keyview.LimitState `json:"limits,omitempty" nullable:"false" doc:"How the limits of a key that is valid or rate_limited stand after this; absent: it has none."`
	LimitsUnchecked bool                 `json:"limits_unchecked,omitempty" doc:"The key has limits that could not be counted, and the server lets it pass."`
	RetryAfter      int64                `json:"retry_after_seconds,omitempty" minimum:"1" doc:"Of rate_limited: until the windows end that have too little left."`
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
	p := keystore.LookupParams{Scopes: req.Scopes}
	if req.Cost != nil {
		if p.Cost = int64(*req.Cost); p.Cost == 0 { // it would mean 1
			return answer{}, invalid("body.cost", "It is 0.")
		}
	}
	look := c.ks.LookupWith
	if req.Peek {
		look = c.ks.Peek
	}
	found, err := look(c.r.Context(), req.Token, p)
	owner, refused := found.Key.Owner, (*keystore.LookupError)(nil)
	if errors.As(err, &refused) {
		owner = refused.Owner
	}
	foreign := owner != "" && c.grant.Owner != "" && owner != c.grant.Owner
	switch {
	case foreign:
		return answer{body: lookupAnswer{Code: codeInvalid}}, nil
	case err == nil:
		return answer{body: c.valid(found)}, nil
	case refused == nil || !errors.Is(err, keystore.ErrUnauthenticated) && !errors.Is(err, keystore.ErrMissingScope) && !errors.Is(err, keystore.ErrRateLimited):
		return answer{}, err
	}
	out := lookupAnswer{Code: codeInvalid}
	if c.grant.Owner == "" || !errors.Is(err, keystore.ErrUnauthenticated) {
		out.Code = string(refused.Reason)
	}
	if limited, ok := errors.AsType[*keystore.RateLimitError](err); ok {
		out.Limits, out.RetryAfter = keyview.States(limited.Limits), int64(math.Ceil(limited.RetryAfter.Seconds()))
	}
	return answer{body: out}, nil
}

func (c *call) valid(found keystore.Result) lookupAnswer {
	key := c.view(found.Key)
	return lookupAnswer{Valid: true, Code: codeValid, Key: &key, Limits: keyview.States(found.Limits), LimitsUnchecked: found.LimitsUnchecked}
}
