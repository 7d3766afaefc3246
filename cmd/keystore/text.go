package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Owners, names and the like were chosen by others. Shown as they are, they
// could move the cursor, turn the direction of writing, or pass for a row of the
// table.

// shown is a text of others as a terminal may get it: quoted, with escapes, if
// it is not plain; "-" if it is empty.
func shown(text string) string {
	switch {
	case text == "":
		return "-"
	case text == "-", text[0] == '"', !plain(text), strings.Contains(text, "  "), strings.TrimSpace(text) != text:
		return strconv.Quote(text)
	}
	return text
}

// plain reports whether text is valid UTF-8 that a terminal only prints.
func plain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unprintable)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// escaped is text with escapes for what a terminal would act on, without quotes
// around it.
func escaped(text string) string {
	if plain(text) {
		return text
	}
	var out strings.Builder
	for _, r := range text { // invalid UTF-8 comes as U+FFFD
		if unprintable(r) {
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}
