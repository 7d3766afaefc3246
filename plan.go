package keystore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// newPlans checks Options.Plans and copies them.
func newPlans(from map[string][]Limit) (map[string]Limits, error) {
	plans := make(map[string]Limits, len(from))
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if !validLimitName(name) {
			return nil, invalid("Plans", "the name of a plan is malformed: %s", limitNameText)
		}
		limits, err := newLimits(fmt.Sprintf("Plans[%q]", name), from[name])
		if err != nil {
			return nil, err
		}
		plans[name] = limits
	}
	return plans, nil
}

// Plans returns a copy of Options.Plans.
func (s *Keystore) Plans() map[string][]Limit {
	plans := make(map[string][]Limit, len(s.opts.plans))
	for name, limits := range s.opts.plans {
		plans[name] = slices.Clone(limits.list)
	}
	return plans
}

// limited reports whether the key has limits, or a plan that may have some.
func limited(k *Key) bool { return k.Plan != "" || len(k.Limits.list) > 0 }

// limits returns what holds for the key, by name: the limits of its plan, and its
// own, which take the place of the plan's of the same name. It is false for a
// plan that is not configured here.
func (s *Keystore) limits(k *Key) ([]Limit, bool) {
	if k.Plan == "" {
		return k.Limits.list, true
	}
	plan, known := s.opts.plans[k.Plan]
	if !known || len(k.Limits.list) == 0 {
		return plan.list, known
	}
	return merge(plan.list, k.Limits.list), true
}

// merge returns both sets by name. Of two with one name the own one counts.
func merge(plan, own []Limit) []Limit {
	all := slices.Clone(own)
	for _, l := range plan {
		if _, found := (Limits{own}).Get(l.Name); !found {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b Limit) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// enforceable returns what holds for the key, or why it cannot be enforced here.
func (s *Keystore) enforceable(k *Key) ([]Limit, Reason, error) {
	limits, known := s.limits(k)
	switch {
	case !known:
		return nil, ReasonUnknownPlan, fmt.Errorf("its plan %q is not configured", k.Plan)
	case len(limits) > maxLimits:
		return nil, ReasonUnknownPlan, fmt.Errorf("with those of plan %q it has more than %d limits", k.Plan, maxLimits)
	case len(limits) > 0 && s.counter == nil:
		return nil, ReasonUnavailable, errors.New("it has limits, and the backend cannot count")
	}
	return limits, "", nil
}

// checkLimits refuses limits that could not be enforced: on a backend that cannot
// count, of a plan that is not configured, or too many together.
func (s *Keystore) checkLimits(k *Key) error {
	if !limited(k) {
		return nil
	}
	field := "limits"
	if k.Plan != "" {
		field = "plan"
	}
	limits, known := s.limits(k)
	switch {
	case k.Plan != "" && !validLimitName(k.Plan): // which may be anything, passed by mistake
		return invalid("plan", "it is malformed: %s", limitNameText)
	case !known:
		return invalid("plan", "there is no plan %q in Options.Plans", k.Plan)
	case s.counter == nil:
		return invalid(field, "the backend cannot count: it is no backend.Counter")
	case len(limits) > maxLimits:
		return invalid("limits", "with those of plan %q they are %d, more than %d", k.Plan, len(limits), maxLimits)
	}
	return nil
}
