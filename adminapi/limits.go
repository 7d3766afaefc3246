package adminapi

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// plans are those of the Keystore, by name.
type plans map[string][]keystore.Limit

// has reports whether a key may have the plan, which may be none.
func (p plans) has(plan string) bool {
	_, found := p[plan]
	return found || plan == ""
}

// together returns what holds for a key: the limits of its plan, and its own, which
// take the place of the plan's of the same name.
func (p plans) together(plan string, own []keystore.Limit) []keystore.Limit {
	all := slices.Clone(own)
	for _, l := range p[plan] {
		if !slices.ContainsFunc(own, func(o keystore.Limit) bool { return o.Name == l.Name }) {
			all = append(all, l)
		}
	}
	return all
}

// bounds returns a problem if a key of this plan and these limits is less limited
// than the grant says. What the limits are called does not matter. Of a plan that is
// not configured here nothing is known but that the key's own limits hold.
func (g *Grant) bounds(plan string, own []keystore.Limit, p plans) error {
	if g.SetLimits {
		return nil
	}
	has := p.together(plan, own)
	for _, bound := range p.together(g.Plan, g.Limits) {
		if !slices.ContainsFunc(has, func(l keystore.Limit) bool { return l.Window == bound.Window && l.Requests <= bound.Requests }) {
			return beyond("body.limits", "The limits of the key are wider than you may grant.")
		}
	}
	return nil
}

// sameLimits returns a problem unless both are the same plan and limits.
func sameLimits(plan string, limits []keystore.Limit, otherPlan string, others []keystore.Limit) error {
	switch {
	case plan != otherPlan:
		return beyond("body.plan", "You may not set plans.")
	case !slices.Equal(byName(limits), byName(others)):
		return beyond("body.limits", "You may not set limits.")
	}
	return nil
}

func byName(limits []keystore.Limit) []keystore.Limit {
	return slices.SortedFunc(slices.Values(limits), func(a, b keystore.Limit) int { return strings.Compare(a.Name, b.Name) })
}

var errNoPlan = invalid("body.plan", "There is no such plan.")

// limitList is an array of limits in a request. What a limit may be is the
// keystore's to say.
type limitList []keystore.Limit

type limitRequest struct {
	Name     string      `json:"name"`
	Requests wholeNumber `json:"requests"`
	Seconds  seconds     `json:"window_seconds"`
}

func (list *limitList) UnmarshalJSON(raw []byte) error {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return err
	}
	*list = make(limitList, len(elements))
	for i, element := range elements {
		var l limitRequest
		if err := decode(element, &l); err != nil {
			return err
		}
		(*list)[i] = keystore.Limit{Name: l.Name, Requests: int64(l.Requests), Window: l.Seconds.Duration}
	}
	return nil
}

type limitsAnswer struct {
	Limits []keyview.LimitState `json:"limits" nullable:"false" doc:"Those of the plan and the key's own, by name. Empty: the key has none."`
}

func (c *call) limits() (answer, error) {
	states, err := c.keys.LimitsOf(c.r.Context(), c.id)
	if err != nil {
		return answer{}, err
	}
	return answer{body: limitsAnswer{keyview.States(states)}}, nil
}

// resetLimits looks for the key first, so that what is out of the caller's reach is
// answered as what does not exist.
func (c *call) resetLimits() (answer, error) {
	if err := decode(c.body, &noMembers{}); err != nil {
		return answer{}, err
	}
	k, err := c.keys.Get(c.r.Context(), c.id)
	switch {
	case err != nil:
		return answer{}, err
	case !c.match.holds(k.Revision()):
		return answer{}, errPrecondition
	case !c.grant.SetLimits:
		return answer{}, beyond("", "You may not reset limits.")
	case !c.ks.CanLimit():
		return answer{}, invalid("", "The store of this server cannot count: its keys have no limits.")
	}
	return answer{}, c.ks.ResetLimits(c.r.Context(), c.id)
}

type plansAnswer struct {
	Plans []planView `json:"plans" nullable:"false" doc:"By name."`
}

type planView struct {
	Name   string          `json:"name"`
	Limits []keyview.Limit `json:"limits" nullable:"false"`
}

// listPlans is for those who may set them: a plan may be called after a customer.
func (c *call) listPlans() (answer, error) {
	if !c.grant.SetLimits {
		return answer{}, beyond("", "You may not set plans.")
	}
	out := plansAnswer{Plans: []planView{}}
	for _, name := range slices.Sorted(maps.Keys(c.plans)) {
		out.Plans = append(out.Plans, planView{name, keyview.Limits(slices.Values(c.plans[name]))})
	}
	return answer{body: out}, nil
}
