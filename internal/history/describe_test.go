package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// transcript is the history as text, key by key, in the order of the calls.
func transcript(ops []porcupine.Operation) string {
	var b strings.Builder
	for _, part := range byKey(ops) {
		fmt.Fprintf(&b, "key %s\n", part[0].Input.(call).id)
		slices.SortFunc(part, func(x, y porcupine.Operation) int { return cmp.Compare(x.Call, y.Call) })
		for _, op := range part {
			fmt.Fprintf(&b, "%5d..%-5d client %d  %s\n", op.Call, op.Return, op.ClientId, describe(op.Input.(call), op.Output.(answer)))
		}
	}
	return b.String()
}

func describe(c call, a answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %s %s(", clockText(c.now), c.op)
	switch c.op {
	case opLookup:
		fmt.Fprintf(&b, "secret %d", c.number)
	case opGenerate:
		fmt.Fprintf(&b, "secret %d, %s", c.number, c.params)
	case opUpdate:
		b.WriteString(c.params.String())
	case opExpire:
		b.WriteString(clockText(c.at))
	case opRotate:
		fmt.Fprintf(&b, "secret %d, grace %d ms, expiry %s", c.number, c.grace, clockText(c.at))
	case opRevoke, opRevokeAll:
		b.WriteString(c.reason)
	}
	fmt.Fprintf(&b, ") -> %s", a.verdict)
	if a.view != (view{}) {
		fmt.Fprintf(&b, " %s", a.view)
	}
	if c.op == opLookup && a.verdict == done {
		fmt.Fprintf(&b, " by generation %d", a.generation)
	}
	return b.String()
}

func (e edit) String() string {
	var parts []string
	add := func(name string, set bool, value func() string) {
		if set {
			parts = append(parts, name+" "+value())
		}
	}
	add("name", e.name != nil, func() string { return fmt.Sprintf("%q", *e.name) })
	add("scopes", e.scopes != nil, func() string { return fmt.Sprint(*e.scopes) })
	add("metadata", e.metadata != nil, func() string { return fmt.Sprint(*e.metadata) })
	add("expiry", e.expires != nil, func() string { return clockText(*e.expires) })
	add("disabled", e.disabled != nil, func() string { return fmt.Sprint(*e.disabled) })
	add("n", e.count, func() string { return "+1" })
	return strings.Join(parts, ", ")
}

func (v view) String() string {
	text := fmt.Sprintf("{rev %d gen %d %s", v.revision, v.generation, v.metadata)
	for _, f := range []struct {
		name string
		at   int64
	}{{"expires", v.expires}, {"revoked", v.revoked}, {"grace until", v.graceUntil}, {"used", v.lastUsed}} {
		if f.at != never {
			text += fmt.Sprintf(" %s %s", f.name, clockText(f.at))
		}
	}
	if v.disabled {
		text += " disabled"
	}
	return text + v.reason + "}"
}

func (s state) String() string {
	if !s.present {
		return fmt.Sprintf("{made %v, not there}", s.made)
	}
	text := view{fields: s.fields, generation: s.secrets[0].generation}.String()
	for _, known := range s.secrets {
		if known.number != 0 {
			text += fmt.Sprintf(" %d until %s", known.number, clockText(known.until))
		}
	}
	return text
}

// clockText is a time as milliseconds after the start of the history.
func clockText(ms int64) string {
	switch ms {
	case never:
		return "never"
	case forever:
		return "forever"
	}
	return fmt.Sprintf("+%d", ms-start)
}
