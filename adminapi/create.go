package adminapi

import (
	"errors"
	"fmt"
	"strings"

	"example.com/keystore"
)

type createRequest struct {
	Owner       string     `json:"owner,omitempty" doc:"Required of who may manage the keys of all owners." maxLength:"256"`
	Name        string     `json:"name,omitempty" maxLength:"128"`
	Description string     `json:"description,omitempty" maxLength:"1024"`
	Scopes      []string   `json:"scopes,omitempty" nullable:"false" maxItems:"64" pattern:"^(\\*|[0-9A-Za-z._-]+(:[0-9A-Za-z._-]+)*(:\\*)?)$" maxLength:"128"`
	Metadata    entries    `json:"metadata,omitempty" doc:"Names that begin with keystore: are reserved." maxProperties:"64"`
	Plan        *string    `json:"plan,omitempty" doc:"A plan of the server. Absent: none, or of others than administrators that of the presented key. Empty: none." maxLength:"32"`
	Limits      *limitList `json:"limits,omitempty" doc:"Its own, which take the place of the plan's of the same name. Absent: none, or of others than administrators those of the presented key." maxItems:"8"`
	ExpiresAt   *timestamp `json:"expires_at,omitempty" doc:"Either this or ttl_seconds, or neither for the default of the server; the caller's own end, if that is sooner."`
	TTLSeconds  *seconds   `json:"ttl_seconds,omitempty" doc:"The lifetime from now on, at least 1." minimum:"1"`
}

func (c *call) create() (answer, error) {
	var req createRequest
	if err := decode(c.body, &req); err != nil {
		return answer{}, err
	}
	p := keystore.KeyParams{Owner: req.Owner, Name: req.Name, Description: req.Description, Scopes: req.Scopes, AllowReserved: c.grant.Reserved}
	if own := c.grant.Owner; own != "" {
		if p.Owner != "" && p.Owner != own {
			return answer{}, beyond("body.owner", "You may only make keys of your own.")
		}
		p.Owner = own
	}
	if len(req.Metadata) > 0 && !c.grant.Metadata {
		return answer{}, beyond("body.metadata", "You may not set metadata.")
	}
	var err error
	if p.Metadata, err = newMetadata(req.Metadata); err != nil {
		return answer{}, err
	}
	if err := c.lifetime(&p, &req); err != nil {
		return answer{}, err
	}
	if err := c.limit(&p, &req); err != nil {
		return answer{}, err
	}
	if err := c.grant.holds(&keystore.Changes{Scopes: p.Scopes, ExpiresAt: p.ExpiresAt, Plan: p.Plan, Limits: p.Limits}, c.plans); err != nil {
		return answer{}, err
	}
	token, k, err := c.ks.Generate(c.r.Context(), p)
	var field *keystore.FieldError
	switch {
	case !c.grant.SetLimits && errors.As(err, &field) && (field.Field == "plan" || field.Field == "limits"):
		return answer{}, fmt.Errorf("adminapi: a key cannot have the plan and limits of the Grant: %v", err) // the client cannot help it
	case errors.Is(err, keystore.ErrUnknownOutcome):
		return answer{}, unsettled{err, token, c.view(k)}
	case err != nil:
		return answer{}, err
	}
	out := c.tokenAnswer(token, k)
	out.header["Location"] = c.base + "/keys/" + k.ID
	return out, nil
}

// limit sets the plan and the limits: those that are asked for, or those that every
// key of the caller's gets.
func (c *call) limit(p *keystore.KeyParams, req *createRequest) error {
	if !c.grant.SetLimits {
		p.Plan, p.Limits = c.grant.Plan, c.grant.Limits
	}
	plan, limits := p.Plan, p.Limits
	if req.Plan != nil {
		plan = *req.Plan
	}
	if req.Limits != nil {
		limits = *req.Limits
	}
	if !c.grant.SetLimits {
		return sameLimits(p.Plan, p.Limits, plan, limits)
	}
	if !c.plans.has(plan) {
		return errNoPlan
	}
	p.Plan, p.Limits = plan, limits
	return nil
}

// lifetime sets when the key expires. Under a grant with a bound that is always a
// time, so that what is compared with the bound is what is written.
func (c *call) lifetime(p *keystore.KeyParams, req *createRequest) error {
	bound := c.grant.ExpiresAt
	switch {
	case req.TTLSeconds != nil && req.ExpiresAt != nil:
		return invalid("body.ttl_seconds", "There is an expires_at too.")
	case req.TTLSeconds != nil && req.TTLSeconds.Duration == 0:
		return invalid("body.ttl_seconds", "It is 0.")
	case req.ExpiresAt != nil:
		p.ExpiresAt = req.ExpiresAt.Time
	case req.TTLSeconds != nil && bound.IsZero():
		p.TTL = req.TTLSeconds.Duration
	case req.TTLSeconds != nil:
		p.ExpiresAt = c.ks.Now().Add(req.TTLSeconds.Duration)
	case !bound.IsZero():
		p.ExpiresAt = c.ks.DefaultExpiry()
		if later(p.ExpiresAt, bound) {
			p.ExpiresAt = bound
		}
	}
	return nil
}

// entries are metadata in which null can be told from "".
type entries map[string]*string

// reservedMetadata begins the names of metadata that is the API's own.
const reservedMetadata = "keystore:"

func newMetadata(from entries) (map[string]string, error) {
	m := make(map[string]string, len(from))
	for name, value := range from {
		if value == nil {
			return nil, invalid("body.metadata", "A value is null.")
		}
		if strings.HasPrefix(name, reservedMetadata) {
			return nil, errReservedMetadata
		}
		m[name] = *value
	}
	return m, nil
}

var errReservedMetadata = invalid("body.metadata", "Names that begin with keystore: are reserved.")
