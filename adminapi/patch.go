package adminapi

import (
	"maps"
	"slices"
	"strings"

	"example.com/keystore"
)

// patchRequest is a JSON merge patch (RFC 7396) of a key: what is absent stays, and
// null takes it away. Metadata is merged entry by entry.
type patchRequest struct {
	Name        optional[string]             `json:"name,omitempty" maxLength:"128"`
	Description optional[string]             `json:"description,omitempty" maxLength:"1024"`
	Scopes      optional[[]string]           `json:"scopes,omitempty" maxItems:"64" pattern:"^(\\*|[0-9A-Za-z._-]+(:[0-9A-Za-z._-]+)*(:\\*)?)$" maxLength:"128" doc:"All that the key is to have. Reserved scopes can be kept or dropped, not added."`
	Metadata    optional[map[string]*string] `json:"metadata,omitempty" doc:"Entries to set, or with null to remove. null removes all but reserved ones."`
	Plan        optional[string]             `json:"plan,omitempty" maxLength:"32" doc:"null: none."`
	Limits      optional[limitList]          `json:"limits,omitempty" maxItems:"8" doc:"All that the key is to have of its own, beside those of its plan."`
	ExpiresAt   optional[timestamp]          `json:"expires_at,omitempty" doc:"null: never. It must lie in the future, and revives a key that has expired."`
}

func decodePatch(body []byte) (p patchRequest, err error) {
	if err := decode(body, &p); err != nil {
		return patchRequest{}, err
	}
	for name := range p.Metadata.value {
		if strings.HasPrefix(name, reservedMetadata) {
			return patchRequest{}, errReservedMetadata
		}
	}
	return p, nil
}

// apply makes the changes. It may run again, on newer values.
func (p *patchRequest) apply(c *keystore.Changes) {
	replace(&c.Name, p.Name)
	replace(&c.Description, p.Description)
	replace(&c.Scopes, p.Scopes)
	replace(&c.Plan, p.Plan)
	if p.Limits.given {
		c.Limits = p.Limits.value
	}
	if p.ExpiresAt.given {
		c.ExpiresAt = p.ExpiresAt.value.Time
	}
	if p.Metadata.null {
		maps.DeleteFunc(c.Metadata, func(name, _ string) bool { return !strings.HasPrefix(name, reservedMetadata) })
	}
	for name, value := range p.Metadata.value {
		if value == nil {
			delete(c.Metadata, name)
		} else {
			c.Metadata[name] = *value
		}
	}
}

// replace sets what the patch gives; null is the zero value.
func replace[T any](field *T, by optional[T]) {
	if by.given {
		*field = by.value
	}
}

func (c *call) patch() (answer, error) {
	p, err := decodePatch(c.body)
	if err != nil {
		return answer{}, err
	}
	if c.grant.SetLimits && !c.plans.has(p.Plan.value) { // which plans there are is not for others
		return answer{}, errNoPlan
	}
	return c.change(func(after *keystore.Changes) error {
		before := *after
		before.Scopes, before.Metadata = slices.Clone(after.Scopes), maps.Clone(after.Metadata)
		p.apply(after)
		return c.grant.allows(&before, after, c.plans)
	})
}

// change updates the key if it has a revision that the client asked for.
func (c *call) change(fn func(*keystore.Changes) error) (answer, error) {
	k, err := c.keys.Update(c.r.Context(), c.id, func(changes *keystore.Changes) error {
		if !c.match.holds(changes.Revision) {
			return errPrecondition
		}
		return fn(changes)
	})
	if err != nil {
		return answer{}, err
	}
	return c.keyAnswer(k), nil
}
