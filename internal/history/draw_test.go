package history

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"example.com/keystore"
)

var (
	long1024  = strings.Repeat("é", 512) // in bytes
	badOwners = []string{"", "a\x00b", "a\xff", strings.Repeat("o", 257)}

	granted  = []string{"orders:read", "orders:write", "orders:*", "orders", "*", "files", "files:a.b-c_d", "keystore:admin"}
	required = []string{"orders:read", "orders:x:y", "orders", "orders2:x", "files", "keystore", "keystore:admin"}
)

// breakages make an edit one that is refused for one field.
var breakages = []struct {
	field string
	spoil func(*edit)
}{
	{"name", func(e *edit) { text := strings.Repeat("n", 129); e.name = &text }},
	{"name", func(e *edit) { text := "\xff"; e.name = &text }},
	{"description", func(e *edit) { text := long1024 + "!"; e.description = &text }},
	{"scopes", func(e *edit) { e.scopes = &[]string{"orders:"} }},
	{"scopes", func(e *edit) { e.scopes = &[]string{"or*"} }},
	{"scopes", func(e *edit) { e.scopes = &[]string{"keystore:*"} }},
	{"scopes", func(e *edit) { e.scopes = &[]string{strings.Repeat("s", 129)} }},
	{"scopes", func(e *edit) { list := make([]string, 65); e.scopes = &list; fill(list) }},
	{"metadata", func(e *edit) { e.metadata = &map[string]string{"k": strings.Repeat("v", 16<<10)} }},
	{"metadata", func(e *edit) { e.metadata = &map[string]string{"k\xff": ""} }},
	{"metadata", func(e *edit) { m := many(65); e.metadata = &m }},
}

func fill(list []string) {
	for i := range list {
		list[i] = fmt.Sprintf("scope%d", i)
	}
}

func many(n int) map[string]string {
	m := make(map[string]string)
	for i := range n {
		m[fmt.Sprint(i)] = ""
	}
	return m
}

// drawEdit draws what Generate sets and Update changes, and the field that it is
// refused for, if it is.
func drawEdit(t *rapid.T) (e edit, field string) {
	if chance(t, 3, "sets the name") {
		name := rapid.SampledFrom([]string{"", "n", "a name", strings.Repeat("n", 128)}).Draw(t, "name")
		e.name = &name
	}
	if chance(t, 4, "sets the description") {
		text := rapid.SampledFrom([]string{"", "text", long1024}).Draw(t, "description")
		e.description = &text
	}
	if chance(t, 2, "sets the scopes") {
		scopes := rapid.SliceOfN(rapid.SampledFrom(granted), 0, 3).Draw(t, "scopes")
		e.scopes = &scopes
	}
	if chance(t, 4, "sets the metadata") {
		m := rapid.MapOfN(rapid.SampledFrom([]string{"", "n", "k", "é"}), rapid.SampledFrom([]string{"", "7", "value"}), 0, 3).Draw(t, "metadata")
		e.metadata = &m
	}
	if chance(t, 3, "disables or enables") {
		disabled := rapid.Bool().Draw(t, "disabled")
		e.disabled = &disabled
	}
	e.count = chance(t, 3, "counts")
	e.stop = chance(t, 10, "fails")
	if chance(t, 6, "is against a limit") {
		b := rapid.SampledFrom(breakages).Draw(t, "limit")
		b.spoil(&e)
		e.broken, field = true, b.field
		if field != "scopes" {
			e.scopes = nil // reserved ones might be refused first
		}
	}
	return e, field
}

// params are the same for Generate.
func (e edit) params() (p keystore.KeyParams) {
	if e.name != nil {
		p.Name = *e.name
	}
	if e.description != nil {
		p.Description = *e.description
	}
	if e.scopes != nil {
		p.Scopes = *e.scopes
	}
	if e.metadata != nil {
		p.Metadata = *e.metadata
	}
	return p
}
