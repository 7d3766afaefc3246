package adminapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/keystore"
)

// decode reads a JSON object into the struct that into points to. It is stricter
// than encoding/json, which takes names in any case, the last of two members of
// one name, null for anything, and puts U+FFFD for what is no text: each of these
// would do something else than the client thinks. An empty body is an empty object.
func decode(body []byte, into any) error {
	members := map[string]json.RawMessage{}
	if len(body) > 0 {
		if err := checkJSON(body); err != nil {
			return problem{Status: 400, Code: "malformed", Location: "body", Detail: "The body is not JSON: " + err.Error() + "."}
		}
		if json.Unmarshal(body, &members) != nil || members == nil {
			return invalid("body", "The body is a JSON object.")
		}
	}
	v := reflect.ValueOf(into).Elem()
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		raw, given := members[name]
		if !given {
			if options == "" {
				return invalid("body."+name, "It is required.")
			}
			continue
		}
		delete(members, name)
		field := v.Field(i).Addr().Interface()
		_, clearable := field.(interface{ clearable() })
		if string(raw) == "null" && !clearable || json.Unmarshal(raw, field) != nil {
			return invalid("body."+name, "It must be "+wanted(v.Field(i).Type())+".")
		}
	}
	if len(members) > 0 {
		return invalid("body", "There is a member that this operation does not know.")
	}
	return nil
}

const limitsWanted = "an array of objects with name, requests and window_seconds"

// wanted describes what a field takes.
func wanted(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[string]():
		return "a string"
	case reflect.TypeFor[[]string]():
		return "an array of strings"
	case reflect.TypeFor[entries]():
		return "an object of strings"
	case reflect.TypeFor[timestamp]():
		return "a time such as 2027-01-31T12:00:00Z"
	case reflect.TypeFor[optional[timestamp]]():
		return "a time such as 2027-01-31T12:00:00Z, or null"
	case reflect.TypeFor[seconds]():
		return "a whole number of seconds, not negative and at most 9223372036"
	case reflect.TypeFor[bool]():
		return "true or false"
	case reflect.TypeFor[wholeNumber]():
		return "a whole number, not negative"
	case reflect.TypeFor[limitList]():
		return limitsWanted
	case reflect.TypeFor[optional[limitList]]():
		return limitsWanted + ", or null"
	case reflect.TypeFor[optional[string]]():
		return "a string or null"
	case reflect.TypeFor[optional[[]string]]():
		return "an array of strings or null"
	case reflect.TypeFor[optional[map[string]*string]]():
		return "an object of strings and nulls, or null"
	}
	return "of another type"
}

// checkJSON returns what is wrong with a text as JSON that means the same to every
// reader (RFC 8259, RFC 7493): one value, in UTF-8, of objects whose names are
// unique, and of strings without halves of surrogate pairs.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	if !json.Valid(text) {
		return errors.New("its syntax is wrong")
	}
	if hasLoneSurrogate(text) {
		return errors.New("an escape is half of a surrogate pair")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return checkNames(dec)
}

// checkNames reads one value and looks for names that come twice in an object.
func checkNames(dec *json.Decoder) error {
	var open []map[string]bool // the names so far of each object that is open; nil for an array
	isName := false
	for {
		t, err := dec.Token()
		if err != nil { // the text is valid: it is the end
			return nil
		}
		switch t := t.(type) {
		case json.Delim:
			switch t {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			isName = len(open) > 0 && open[len(open)-1] != nil
			continue
		case string:
			if isName {
				names := open[len(open)-1]
				if names[t] {
					return errors.New("a name comes twice in one object")
				}
				names[t], isName = true, false
				continue
			}
		}
		isName = len(open) > 0 && open[len(open)-1] != nil
	}
}

// hasLoneSurrogate reports whether valid JSON has an escape such as \ud800 without
// its other half.
func hasLoneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // to what is escaped; only in strings are there backslashes
		if text[i] != 'u' {
			continue
		}
		unit := hex4(text[i+1:])
		i += 4
		switch {
		case unit < 0xD800 || unit > 0xDFFF:
		case unit >= 0xDC00, !bytes.HasPrefix(text[i+1:], []byte(`\u`)):
			return true
		default:
			if low := hex4(text[i+3:]); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 6
		}
	}
	return false
}

func hex4(digits []byte) uint64 {
	n, _ := strconv.ParseUint(string(digits[:4]), 16, 16) // the text is valid JSON
	return n
}

// optional is a member of a merge patch (RFC 7396): absent, null, or a value.
type optional[T any] struct {
	given bool
	null  bool
	value T
}

func (o *optional[T]) clearable() {}

func (o *optional[T]) UnmarshalJSON(raw []byte) error {
	o.given, o.null = true, string(raw) == "null"
	if o.null {
		return nil
	}
	return json.Unmarshal(raw, &o.value)
}

// timestamp is a time as RFC 3339 writes it, in the whole milliseconds that a key
// holds.
type timestamp struct{ time.Time }

var errNotTime = errors.New("not a time")

func (t *timestamp) UnmarshalJSON(raw []byte) error {
	var at time.Time
	if err := at.UnmarshalJSON(raw); err != nil {
		return errNotTime
	}
	t.Time = at.UTC().Truncate(time.Millisecond)
	if t.IsZero() { // it would mean never
		return errNotTime
	}
	return nil
}

// seconds is a duration. It is a number, for nobody has to parse it.
type seconds struct{ time.Duration }

// maxSeconds is the longest time.Duration.
const maxSeconds = math.MaxInt64 / int64(time.Second)

func (s *seconds) UnmarshalJSON(raw []byte) error {
	var n wholeNumber
	if err := n.UnmarshalJSON(raw); err != nil || int64(n) > maxSeconds {
		return errors.New("not whole seconds")
	}
	s.Duration = time.Duration(n) * time.Second
	return nil
}

// wholeNumber is an integer from 0 to keystore.MaxRequests, which is exact in a
// float64: JSON has 90, 90.0 and 9e1.
type wholeNumber int64

func (w *wholeNumber) UnmarshalJSON(raw []byte) error {
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || n < 0 || n > keystore.MaxRequests || n != math.Trunc(n) {
		return errors.New("not a whole number")
	}
	*w = wholeNumber(n)
	return nil
}
