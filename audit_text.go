package keystore

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// maxAuditText is the longest text in an Event, in bytes.
const maxAuditText = 256

// tokenLike finds what may be a token without its prefix, of which nothing need be
// hidden, mistyped or with more behind it too.
var tokenLike = regexp.MustCompile(fmt.Sprintf(`(?:_|%%5[Ff])[0-9A-Za-z]{%d,}`, bodyLen))

// auditText is text for an event: valid UTF-8, of bounded length, and without
// what looks like a token. Control characters stay: whoever writes the event
// down must escape them.
func auditText(s string) string {
	s = tokenLike.ReplaceAllStringFunc(s, func(found string) string {
		if strings.Trim(found, "_0123456789abcdef") == "" {
			return found // a digest in hexadecimal, by which some name their owners
		}
		return "[redacted]"
	})
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxAuditText {
		return s
	}
	end := maxAuditText - len("…")
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// auditTime is a time that every encoding of an event can hold: UTC, in whole
// milliseconds like those of keys.
func auditTime(t time.Time) time.Time {
	switch {
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return millis(t)
}
