package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// field is one line of text output.
type field struct{ name, value string }

// print writes a result to standard output: with --json the view, else the
// fields as lines.
func (a *app) print(view any, fields []field) error {
	if a.global.json {
		return a.write(jsonLine(view))
	}
	width := 0
	for _, f := range fields {
		width = max(width, len(f.name))
	}
	var text strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&text, "%-*s %s\n", width+1, f.name+":", f.value)
	}
	return a.write([]byte(text.String()))
}

// printCount writes a number, alone in text.
func (a *app) printCount(name string, n int64) error {
	if a.global.json {
		return a.write(jsonLine(map[string]int64{name: n}))
	}
	return a.write(fmt.Appendln(nil, n))
}

func (a *app) write(text []byte) error {
	if _, err := a.out.Write(text); err != nil {
		return fileError("standard output", err)
	}
	return nil
}

// jsonLine is a value as one line of JSON, in which nothing acts on a terminal.
func jsonLine(view any) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(view); err != nil {
		panic(err) // views are structs and maps of plain types
	}
	line := out.Bytes()
	if !bytes.ContainsFunc(line, escapeInJSON) {
		return line
	}
	var safe bytes.Buffer
	for _, r := range string(line) {
		switch {
		case !escapeInJSON(r):
			safe.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&safe, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&safe, `\u%04x`, r)
		}
	}
	return safe.Bytes()
}

// escapeInJSON reports whether a character, which encoding/json leaves as it is,
// may act on a terminal: DEL, C1, bidi controls. They only occur inside strings.
func escapeInJSON(r rune) bool { return r != '\n' && unprintable(r) }
