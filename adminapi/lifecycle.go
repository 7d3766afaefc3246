package adminapi

import (
	"errors"

	"example.com/keystore"
)

// DisabledBy is the name of the metadata entry that marks a key which was disabled
// under a Grant without EnableAny, with the value "self". Only a key with the mark
// may be enabled under such a grant. Who disables a key otherwise, through the
// library for instance, and means it to stay so, removes the entry.
const DisabledBy = reservedMetadata + "disabled-by"

const bySelf = "self"

type revokeRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"1024" doc:"Kept with the key. The first one stays."`
}

// noMembers is the body of operations that take none, which may be an empty object.
type noMembers struct{}

func (c *call) get() (answer, error) {
	k, err := c.keys.Get(c.r.Context(), c.id)
	if err != nil {
		return answer{}, err
	}
	return c.keyAnswer(k), nil
}

func (c *call) disable() (answer, error) {
	if err := decode(c.body, &noMembers{}); err != nil {
		return answer{}, err
	}
	out, err := c.disableMarked(true)
	if errors.Is(err, keystore.ErrInvalid) {
		// There is no room for the mark. The key is disabled without it, and only an
		// administrator enables it.
		return c.disableMarked(false)
	}
	return out, err
}

func (c *call) disableMarked(mark bool) (answer, error) {
	return c.change(func(k *keystore.Changes) error {
		switch {
		case c.grant.EnableAny:
			delete(k.Metadata, DisabledBy)
		case mark && !k.Disabled:
			k.Metadata[DisabledBy] = bySelf
		}
		k.Disabled = true
		return nil
	})
}

func (c *call) enable() (answer, error) {
	if err := decode(c.body, &noMembers{}); err != nil {
		return answer{}, err
	}
	return c.change(func(k *keystore.Changes) error {
		if !k.Disabled {
			return nil
		}
		if !c.grant.EnableAny && k.Metadata[DisabledBy] != bySelf {
			return beyond("", "An administrator has disabled this key.")
		}
		delete(k.Metadata, DisabledBy)
		k.Disabled = false
		return c.grant.holds(k, c.plans)
	})
}

func (c *call) revoke() (answer, error) {
	var req revokeRequest
	if err := errors.Join(decode(c.body, &req), c.checkMatch()); err != nil {
		return answer{}, err
	}
	k, err := c.keys.Revoke(c.r.Context(), c.id, req.Reason)
	if err != nil {
		return answer{}, err
	}
	return c.keyAnswer(k), nil
}

func (c *call) endGrace() (answer, error) {
	if err := errors.Join(decode(c.body, &noMembers{}), c.checkMatch()); err != nil {
		return answer{}, err
	}
	k, err := c.keys.EndGrace(c.r.Context(), c.id)
	if err != nil {
		return answer{}, err
	}
	return c.keyAnswer(k), nil
}

func (c *call) delete() (answer, error) {
	if err := c.checkMatch(); err != nil {
		return answer{}, err
	}
	return answer{}, c.keys.Delete(c.r.Context(), c.id)
}

// checkMatch compares the revision ahead of changes that do not compare it
// themselves. They take power away for good, and another change in between does
// not make them wrong.
func (c *call) checkMatch() error {
	if !c.match.given {
		return nil
	}
	k, err := c.keys.Get(c.r.Context(), c.id)
	if err == nil && !c.match.holds(k.Revision()) {
		return errPrecondition
	}
	return err
}
