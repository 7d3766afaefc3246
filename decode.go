package keystore

import (
	"math"
	"time"
	"unicode/utf8"
)

// decoder is a strict reader of the CBOR subset that records are written in:
// definite lengths and shortest forms only, keys ascending. A lookup spends its
// time here, and a general decoder takes five times as long. It is fuzzed
// against fxamacker/cbor. After the first problem nothing is left to read.
type decoder struct {
	s       string
	at      int
	problem string
}

// CBOR major types (RFC 8949, section 3.1).
const (
	majorUint  = 0
	majorNint  = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
	majorOther = 7
)

// Simple values (RFC 8949, section 3.3), as whole bytes.
const (
	cborTrue = 0xf5
	cborNull = 0xf6
)

const maxNesting = 16

func (d *decoder) fail(problem string) {
	if d.problem == "" {
		d.problem = problem
	}
	d.s = d.s[:d.at]
}

func (d *decoder) record(r *record) {
	n := d.head(majorMap)
	last := uint64(0)
	for ; n > 0 && d.problem == ""; n-- {
		field := d.head(majorUint)
		if field <= last {
			d.fail("fields do not ascend")
			break
		}
		last = field
		d.field(field, r)
	}
	if d.problem == "" {
		d.problem = checkRecord(r)
	}
}

func (d *decoder) field(field uint64, r *record) {
	k := &r.key
	switch field {
	case fieldID:
		k.ID = d.text()
	case fieldOwner:
		k.Owner = d.text()
	case fieldName:
		k.Name = d.nonEmpty()
	case fieldDescription:
		k.Description = d.nonEmpty()
	case fieldPrefix:
		k.Prefix = d.text()
	case fieldScopes:
		k.Scopes.list = d.scopes()
	case fieldMetadata:
		k.Metadata.pairs = d.metadata()
	case fieldCreated:
		k.CreatedAt = d.time()
	case fieldExpires:
		k.ExpiresAt = d.time()
	case fieldRevoked:
		k.RevokedAt = d.time()
	case fieldRevokeReason:
		k.RevokeReason = d.nonEmpty()
	case fieldDisabled:
		if d.byte() != cborTrue {
			d.fail("disabled is not true")
		}
		k.Disabled = true
	case fieldSecrets:
		r.secrets = d.secrets()
	case fieldWriteIDs:
		r.writeIDs = d.bytes(majorBytes)
	case fieldLimits:
		k.Limits.list = d.limits()
	case fieldPlan:
		k.Plan = d.nonEmpty()
	default:
		start := d.at
		d.skip(0)
		r.unknown = append(r.unknown, rawField{field, d.s[start:d.at]})
	}
}

func (d *decoder) scopes() []string {
	list := make([]string, 0, d.count())
	for range cap(list) {
		list = append(list, d.text())
	}
	return list
}

func (d *decoder) metadata() []pair {
	n := d.count()
	if n%2 != 0 {
		d.fail("a metadata value is missing")
	}
	pairs := make([]pair, 0, n/2)
	for range n / 2 {
		pairs = append(pairs, pair{d.text(), d.text()})
	}
	return pairs
}

func (d *decoder) secrets() []secret {
	list := make([]secret, 0, d.count())
	for range cap(list) {
		if d.head(majorArray) != 5 {
			d.fail("a secret does not have five parts")
		}
		var s secret
		generation := d.head(majorUint)
		if generation > math.MaxInt32 {
			d.fail("a generation is out of range")
		}
		s.generation = int(generation)
		s.digest = Digest{scheme: d.text(), kid: d.text(), sum: d.bytes(majorBytes)}
		if d.at < len(d.s) && d.s[d.at] == cborNull {
			d.at++
		} else {
			s.until = d.time()
		}
		list = append(list, s)
	}
	return list
}

func (d *decoder) limits() []Limit {
	list := make([]Limit, 0, d.count())
	for range cap(list) {
		if d.head(majorArray) != 3 {
			d.fail("a limit does not have three parts")
		}
		name, requests, seconds := d.text(), d.head(majorUint), d.head(majorUint)
		if requests > MaxRequests || seconds > maxLimitDays*24*3600 {
			d.fail("a limit is out of range")
		}
		list = append(list, Limit{name, int64(requests), time.Duration(seconds) * time.Second})
	}
	return list
}

// count reads the head of an array that is not empty, and makes sure that its
// elements can be there before anything is allocated for them.
func (d *decoder) count() int {
	n := d.head(majorArray)
	if n == 0 || n > uint64(len(d.s)-d.at) {
		d.fail("an array is empty or longer than the record")
		return 0
	}
	return int(n)
}

func (d *decoder) time() time.Time {
	ms := d.head(majorUint)
	if ms > maxMillis {
		d.fail("a time is out of range")
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

func (d *decoder) text() string {
	s := d.bytes(majorText)
	if !utf8.ValidString(s) {
		d.fail("a text is not valid UTF-8")
	}
	return s
}

func (d *decoder) nonEmpty() string {
	s := d.text()
	if s == "" {
		d.fail("an optional text is empty")
	}
	return s
}

func (d *decoder) bytes(major byte) string {
	n := d.head(major)
	if n > uint64(len(d.s)-d.at) {
		d.fail("a string is longer than the record")
		return ""
	}
	d.at += int(n)
	return d.s[d.at-int(n) : d.at]
}

func (d *decoder) byte() byte {
	if d.at >= len(d.s) {
		d.fail("it ends too soon")
		return 0
	}
	d.at++
	return d.s[d.at-1]
}

// head reads the head of an item of the given major type, and returns its
// argument.
func (d *decoder) head(major byte) uint64 {
	if d.at < len(d.s) { // most heads are one byte
		if n := d.s[d.at] - major<<5; n < 24 {
			d.at++
			return uint64(n)
		}
	}
	return d.longHead(major)
}

func (d *decoder) longHead(major byte) uint64 {
	first := d.byte()
	if first>>5 != major {
		d.fail("an item has the wrong type")
	}
	if d.problem != "" {
		return 0
	}
	return d.argument(first & 31)
}

// argument reads the argument of a head (RFC 8949, section 3), which must have
// its shortest form.
func (d *decoder) argument(info byte) uint64 {
	if info < 24 {
		return uint64(info)
	}
	if info > 27 {
		d.fail("an item has an indefinite or reserved length")
		return 0
	}
	n := uint64(0)
	for range 1 << (info - 24) {
		n = n<<8 | uint64(d.byte())
	}
	if least := [4]uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]; n < least {
		d.fail("a number is not in its shortest form")
	}
	return n
}

// skip passes over one item of any type.
func (d *decoder) skip(depth int) {
	if depth > maxNesting {
		d.fail("an unknown field is nested too deep")
	}
	first := d.byte()
	major, info := first>>5, first&31
	if d.problem != "" {
		return
	}
	if major == majorOther {
		d.skipSimple(info)
		return
	}
	n := d.argument(info)
	switch major {
	case majorUint, majorNint:
		return
	case majorBytes, majorText:
		if n > uint64(len(d.s)-d.at) {
			d.fail("an unknown field is longer than the record")
			return
		}
		if d.at += int(n); major == majorText && !utf8.ValidString(d.s[d.at-int(n):d.at]) {
			d.fail("a text is not valid UTF-8")
		}
		return
	case majorTag:
		n = 1
	}
	if n > uint64(len(d.s)-d.at) { // before doubling, which could overflow
		d.fail("an unknown field is longer than the record")
	}
	if major == majorMap {
		n *= 2
	}
	for ; n > 0 && d.problem == ""; n-- {
		d.skip(depth + 1)
	}
}

// skipSimple passes over the rest of a boolean, null or float. Other simple
// values are refused: no version of the format writes them.
func (d *decoder) skipSimple(info byte) {
	size := 0
	switch info {
	case 20, 21, 22, 23: // false, true, null, undefined
	case 25, 26, 27: // half, single, double
		size = 1 << (info - 24)
	default:
		d.fail("an unknown field has an unknown simple value")
	}
	for range size {
		d.byte()
	}
}
