package adminapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"example.com/keystore"
)

// precondition is the If-Match of a request (RFC 9110, section 13.1.1).
type precondition struct {
	given bool
	any   bool     // *
	tags  []uint64 // revisions; a tag that is none of ours matches nothing
}

// etag is the entity tag of a key: its revision.
func etag(k keystore.Key) string { return etagOf(k.Revision()) }

func etagOf(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// holds reports whether the key may be changed at this revision.
func (p precondition) holds(revision uint64) bool {
	return !p.given || p.any || slices.Contains(p.tags, revision)
}

// parseIfMatch reads the lines of the field, which are one list.
func parseIfMatch(lines []string) (precondition, error) {
	if len(lines) == 0 {
		return precondition{}, nil
	}
	p := precondition{given: true}
	rest := strings.Trim(strings.Join(lines, ","), " \t")
	if rest == "*" {
		p.any = true
		return p, nil
	}
	malformed := problem{
		Status: http.StatusBadRequest, Code: "malformed", Location: "header.If-Match",
		Detail: `It is neither * nor a list of entity tags, such as "7".`,
	}
	for tags := 0; ; {
		rest = strings.TrimLeft(rest, ", \t") // a list may have empty elements
		if rest == "" {
			if tags == 0 {
				return p, malformed
			}
			return p, nil
		}
		opaque, weak := strings.CutPrefix(rest, "W/")
		tag, after, ok := cutTag(opaque)
		if !ok {
			return p, malformed
		}
		tags, rest = tags+1, after
		// The comparison is a strong one: a weak tag never matches.
		if revision, err := strconv.ParseUint(tag, 10, 64); err == nil && !weak && etagOf(revision) == `"`+tag+`"` {
			p.tags = append(p.tags, revision)
		}
	}
}

// cutTag takes a quoted tag off the text, which must end or go on with a comma.
func cutTag(text string) (tag, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		return "", "", false
	}
	tag, rest, ok = strings.Cut(text[1:], `"`)
	rest = strings.TrimLeft(rest, " \t")
	return tag, rest, ok && (rest == "" || rest[0] == ',')
}
