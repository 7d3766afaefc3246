package adminapi

import (
	"errors"
	"iter"
	"strings"
	"time"

	"example.com/keystore"
)

// The bounds of an answer: 744 hours, or 366 days.
const (
	day         = 24 * time.Hour
	defaultSpan = 30 * day
	maxHours    = 31 * day
	maxDays     = 366 * day
)

type usageAnswer struct {
	Usage []keystore.Usage `json:"usage" nullable:"false" doc:"Hours or days with counts, ascending. allowed, limited and missing_scope count lookups by how they ended; cost is what the allowed ones cost together."`
}

// span is what usage is asked of.
type span struct {
	from, to time.Time // hours that begin in [from, to); a zero to is now
	byDay    bool
}

// keyUsage: usage outlives the key. One without any must exist.
func (c *call) keyUsage() (answer, error) {
	s, err := c.parseSpan()
	if err != nil {
		return answer{}, err
	}
	out, err := s.collect(c.keys.Usage(c.r.Context(), c.id, s.from, s.to))
	if err == nil && len(out.Usage) == 0 {
		if _, err = c.keys.Get(c.r.Context(), c.id); errors.Is(err, keystore.ErrCorrupt) {
			err = nil
		}
	}
	return answer{body: out}, err
}

func (c *call) ownerUsage() (answer, error) {
	owner := c.query["owner"]
	switch own := c.grant.Owner; {
	case own != "" && owner != "" && owner != own:
		return answer{}, beyond("query.owner", "You may only see the usage of your own keys.")
	case own != "":
		owner = own
	case owner == "":
		return answer{}, invalid("query.owner", "It is required.")
	}
	s, err := c.parseSpan()
	if err != nil {
		return answer{}, err
	}
	out, err := s.collect(c.ks.OwnerUsage(c.r.Context(), owner, s.from, s.to))
	return answer{body: out}, err
}

func (s *span) collect(hours iter.Seq2[keystore.Usage, error]) (usageAnswer, error) {
	out := usageAnswer{Usage: []keystore.Usage{}}
	if s.byDay {
		hours = keystore.ByDay(hours)
	}
	for u, err := range hours {
		if err != nil {
			return usageAnswer{}, inQuery(err)
		}
		out.Usage = append(out.Usage, u)
	}
	return out, nil
}

func (c *call) parseSpan() (s span, err error) {
	if s.from, err = c.time("from"); err != nil {
		return s, err
	}
	if s.to, err = c.time("to"); err != nil {
		return s, err
	}
	switch c.query["by"] {
	case "", "day":
		s.byDay = true
	case "hour":
	default:
		return s, invalid("query.by", "It must be hour or day.")
	}
	end := s.to
	if end.IsZero() {
		end = c.ks.Now()
	}
	if s.from.IsZero() {
		s.from = end.Add(-defaultSpan).Truncate(day)
	}
	switch {
	case s.from.After(end):
		return s, invalid("query.from", "It is later than the end.")
	case s.byDay && end.Sub(s.from) > maxDays:
		return s, invalid("query.from", "It is more than 366 days before the end. Ask in parts.")
	case !s.byDay && end.Sub(s.from) > maxHours:
		return s, invalid("query.from", "It is more than 31 days before the end, too long by hour. Ask in parts, or by day.")
	}
	return s, nil
}

// inQuery is what is wrong with a parameter, for an operation without a body.
func inQuery(err error) error {
	var field *keystore.FieldError
	switch {
	case !errors.As(err, &field):
		return err
	case field.Field == "usage":
		return invalid("", "The store of this server keeps no usage.")
	}
	return invalid(strings.Replace(location(field.Field), "body.", "query.", 1), sentence(field.Problem))
}
