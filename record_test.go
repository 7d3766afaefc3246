package keystore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

// goldenRecords are what the files in testdata were made from.
func goldenRecords(t testing.TB) map[string]*record {
	t.Helper()
	at := func(hour int) time.Time { return testNoon.Add(time.Duration(hour)*time.Hour + 7*time.Millisecond) }
	sum := func(n int, from byte) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = from + byte(i)
		}
		return string(b)
	}
	scopes, err := newScopes([]string{"orders:*", "users:read", "keystore:admin"})
	require.NoError(t, err)
	metadata, err := newMetadata(map[string]string{"": "empty key", "région": "Zürich 🔑", "plan": "", "z": "\x00\t\u202e", strings.Repeat("k", 300): "long"})
	require.NoError(t, err)
	return map[string]*record{
		"minimal": {
			key:      Key{ID: "0VmNmGnm8k2QpXw1", Owner: "a", Prefix: "ks", CreatedAt: firstTime},
			secrets:  []secret{{digest: Digest{"sha256", "", sum(32, 0)}, generation: 1}},
			writeIDs: "\x00\x01\x02\x03\x04\x05\x06\x07",
		},
		"full": {
			key: Key{
				ID: "0VmNmGnm8k2QpXw1", Owner: "größe/客户\U0001f511", Name: "nightly export", Description: "two\nlines", Prefix: "sk_live",
				Scopes: scopes, Metadata: metadata, CreatedAt: at(0), ExpiresAt: time.Date(8888, 11, 30, 23, 59, 59, 999e6, time.UTC),
				RevokedAt: at(5), RevokeReason: "laptop lost in 東京", Disabled: true,
			},
			secrets: []secret{
				{digest: Digest{"hmac-sha256", "2026-11", sum(32, 100)}, generation: 70_000},
				{digest: Digest{"argon2id", "m65536t3p4", sum(48, 150)}, generation: 300, until: at(3)},
				{digest: Digest{"bcrypt", "10", sum(60, 1)}, generation: 24, until: firstTime},
			},
			writeIDs: sum(3*writeIDLen, 200),
			unknown: []rawField{
				{15, "\xf4"},                                        // false
				{23, "\x83\x01\x20\xf6"},                            // [1, -1, null]
				{24, "\xa2\x02\x61x\x01\x40"},                       // a map whose keys do not ascend
				{300, "\xc1\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"},   // tag 1, 1.0
				{1 << 40, "\x78\x19exactly twenty-five bytes"},      // text
				{1<<64 - 1, "\x1b\xff\xff\xff\xff\xff\xff\xff\xff"}, // the largest number
			},
		},
		"limited": {
			key: Key{
				ID: "0VmNmGnm8k2QpXw1", Owner: "a", Prefix: "ks", CreatedAt: at(0), Plan: "pro-2026",
				Limits: Limits{[]Limit{{"burst", 10, time.Second}, {"day", MaxRequests, 24 * time.Hour}, {"year_1", 1, 366 * 24 * time.Hour}}},
			},
			secrets:  []secret{{digest: Digest{"sha256", "", sum(32, 7)}, generation: 1}},
			writeIDs: sum(writeIDLen, 40),
			unknown:  []rawField{{15, "\xf5"}, {18, "\x01"}},
		},
		"planned": {
			key:      Key{ID: "0VmNmGnm8k2QpXw1", Owner: "a", Prefix: "ks", CreatedAt: at(0), Plan: "f"},
			secrets:  []secret{{digest: Digest{"sha256", "", sum(32, 7)}, generation: 1}},
			writeIDs: sum(writeIDLen, 40),
		},
	}
}

// plainRecord is a record in words that stay as they are when the code changes.
type plainRecord struct {
	ID, Owner, Name, Description, Prefix string
	Scopes                               []string
	Metadata                             [][2]string
	Created, Expires, Revoked            string
	RevokeReason                         string
	Disabled                             bool
	Secrets                              []plainSecret
	WriteIDs                             string
	Unknown                              map[string]string
	Plan                                 string   `json:",omitempty"`
	Limits                               []string `json:",omitempty"`
}

type plainSecret struct {
	Generation              int
	Scheme, KID, Sum, Until string
}

func plain(r *record) plainRecord {
	text := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	k := &r.key
	p := plainRecord{
		ID: k.ID, Owner: k.Owner, Name: k.Name, Description: k.Description, Prefix: k.Prefix, Scopes: slices.Collect(k.Scopes.All()),
		Created: text(k.CreatedAt), Expires: text(k.ExpiresAt), Revoked: text(k.RevokedAt), RevokeReason: k.RevokeReason, Disabled: k.Disabled,
		WriteIDs: hex.EncodeToString([]byte(r.writeIDs)), Unknown: map[string]string{},
	}
	p.Plan = k.Plan
	for l := range k.Limits.All() {
		p.Limits = append(p.Limits, l.String())
	}
	for key, value := range k.Metadata.All() {
		p.Metadata = append(p.Metadata, [2]string{key, value})
	}
	for _, s := range r.secrets {
		p.Secrets = append(p.Secrets, plainSecret{s.generation, s.digest.scheme, s.digest.kid, hex.EncodeToString([]byte(s.digest.sum)), text(s.until)})
	}
	for _, u := range r.unknown {
		p.Unknown[strconv.FormatUint(u.key, 10)] = hex.EncodeToString([]byte(u.value))
	}
	return p
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/record_" + name + ".hex")
	require.NoError(t, err)
	data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	require.NoError(t, err)
	return data
}

func TestEachVersionDecodesForEver(t *testing.T) {
	for name, want := range goldenRecords(t) {
		data := golden(t, name)
		var r record
		require.NoError(t, r.decode(data))
		expected, err := os.ReadFile("testdata/record_" + name + ".json")
		require.NoError(t, err)
		found, err := json.Marshal(plain(&r))
		require.NoError(t, err)
		require.JSONEq(t, string(expected), string(found), name)

		again, err := r.encode()
		require.NoError(t, err)
		require.Equal(t, data, again, "%s: encode(decode(x)) is x", name)
		written, err := want.encode()
		require.NoError(t, err)
		require.Equal(t, data, written, "%s: the writer", name)

		var fields map[uint64]any // what another reader of CBOR makes of it
		require.NoError(t, cbor.Unmarshal(data[1:len(data)-4], &fields))
		version := map[bool]byte{false: 1, true: 2}
		require.Equal(t, version[want.key.Plan != ""], data[0], "a record that code of version 1 may serve has version 1")
		require.Equal(t, []any{want.key.ID, want.key.Owner, want.key.Prefix}, []any{fields[1], fields[2], fields[5]})
		require.Equal(t, uint64(want.key.CreatedAt.UnixMilli()), fields[8])
		require.Len(t, fields[13], len(want.secrets))

		clear(data)
		require.Equal(t, plain(want).Owner, r.key.Owner, "the record keeps no memory of its input")
	}
}

// forge makes a record with a valid checksum of a body of CBOR.
func forge(version byte, body []byte) []byte {
	data := append([]byte{version}, body...)
	return binary.BigEndian.AppendUint32(data, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// altered is the body of the record with some fields set; nil deletes one. A raw
// value need not be good CBOR.
func altered(t *testing.T, data []byte, set map[uint64]any) []byte {
	t.Helper()
	fields := map[uint64]cbor.RawMessage{}
	require.NoError(t, cbor.Unmarshal(data[1:len(data)-4], &fields))
	for k, v := range set {
		delete(fields, k)
		raw, isRaw := v.(cbor.RawMessage)
		if v != nil && !isRaw {
			var err error
			raw, err = cbor.Marshal(v)
			require.NoError(t, err)
		}
		if v != nil {
			fields[k] = raw
		}
	}
	require.Less(t, len(fields), 24)
	body := []byte{0xa0 + byte(len(fields))}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		key, err := cbor.Marshal(k)
		require.NoError(t, err)
		body = append(append(body, key...), fields[k]...)
	}
	return body
}

func TestWhatEncodeNeverWritesIsCorrupt(t *testing.T) {
	data := golden(t, "full")
	secrets := func(s ...[]any) any { return s }
	current := []any{2, "sha256", "", []byte("x"), nil}
	raw := func(s string) any { return cbor.RawMessage(s) }
	require.NoError(t, new(record).decode(forge(1, altered(t, data, map[uint64]any{13: secrets(current)}))), "what the others differ from")
	for name, set := range map[string]map[uint64]any{
		"no id":                     {1: nil},
		"no owner":                  {2: nil},
		"empty owner":               {2: ""},
		"no prefix":                 {5: nil},
		"no created":                {8: nil},
		"no secrets":                {13: nil},
		"no write ids":              {14: nil},
		"empty name":                {3: ""},
		"empty description":         {4: ""},
		"empty reason":              {11: ""},
		"not disabled":              {12: false},
		"field 0":                   {0: 1},
		"id as bytes":               {1: []byte("0VmNmGnm8k2QpXw1")},
		"owner is no UTF-8":         {2: raw("\x62\xff\xfe")},
		"text is cut":               {5: raw("\x7b\xff\xff\xff\xff\xff\xff\xff\xff")},
		"empty scopes":              {6: []string{}},
		"unsorted scopes":           {6: []string{"b", "a"}},
		"doubled scopes":            {6: []string{"a", "a"}},
		"scopes beyond memory":      {6: raw("\x9b\x7f\xff\xff\xff\xff\xff\xff\xff")},
		"odd metadata":              {7: []string{"a", "1", "b"}},
		"unsorted metadata":         {7: []string{"b", "1", "a", "2"}},
		"doubled metadata":          {7: []string{"a", "1", "a", "2"}},
		"negative time":             {8: -1},
		"time after 8888":           {9: time.Date(8889, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()},
		"time beyond int64":         {9: uint64(1 << 63)},
		"time as float":             {10: 1.5},
		"empty list of secrets":     {13: secrets()},
		"four parts":                {13: secrets(current[:4])},
		"six parts":                 {13: secrets(append(slices.Clone(current), 1))},
		"current has a deadline":    {13: secrets([]any{2, "sha256", "", []byte("x"), 5})},
		"two current":               {13: secrets(current, []any{1, "sha256", "", []byte("x"), nil})},
		"generations ascend":        {13: secrets(current, []any{3, "sha256", "", []byte("x"), 5})},
		"generations repeat":        {13: secrets(current, []any{2, "sha256", "", []byte("x"), 5})},
		"generation 0":              {13: secrets([]any{0, "sha256", "", []byte("x"), nil})},
		"negative generation":       {13: secrets([]any{-1, "sha256", "", []byte("x"), nil})},
		"huge generation":           {13: secrets([]any{1 << 31, "sha256", "", []byte("x"), nil})},
		"sum as text":               {13: secrets([]any{1, "sha256", "", "x", nil})},
		"write ids are cut":         {14: []byte("1234567")},
		"empty write ids":           {14: []byte{}},
		"long form of a number":     {8: raw("\x18\x05")},
		"long form of a length":     {5: raw("\x78\x02ks")},
		"indefinite text":           {5: raw("\x7f\x62ks\xff")},
		"indefinite array":          {6: raw("\x9f\x61a\xff")},
		"reserved length":           {5: raw("\x7cks")},
		"unknown indefinite":        {20: raw("\x9f\xff")},
		"unknown long form":         {20: raw("\x18\x05")},
		"unknown simple value":      {20: raw("\xf8\x20")},
		"unknown simple 19":         {20: raw("\xf3")},
		"unknown text is no UTF-8":  {20: raw("\x61\xff")},
		"unknown beyond the record": {20: raw("\x9b\xff\xff\xff\xff\xff\xff\xff\xff")},
		"unknown map of 2^63":       {20: raw("\xbb\x80\x00\x00\x00\x00\x00\x00\x00")},
		"unknown nested deep":       {20: raw(strings.Repeat("\x81", 30) + "\x00")},
	} {
		err := new(record).decode(forge(1, altered(t, data, set)))
		require.ErrorIs(t, err, ErrCorrupt, name)
		require.NotErrorIs(t, err, ErrUnknownVersion, name)
	}
	limit := func(l ...any) any { return [][]any{l} }
	require.NoError(t, new(record).decode(forge(2, altered(t, data, map[uint64]any{16: limit("day", 100, 86400)}))), "what the others differ from")
	for name, set := range map[string]map[uint64]any{
		"version 2 without limits":  {},
		"no list of limits":         {16: "day"},
		"empty list of limits":      {16: [][]any{}},
		"empty plan":                {17: ""},
		"two parts":                 {16: limit("day", 100)},
		"four parts of a limit":     {16: limit("day", 100, 86400, 1)},
		"no name":                   {16: limit("", 100, 86400)},
		"a name of other letters":   {16: limit("Day", 100, 86400)},
		"no requests":               {16: limit("day", 0, 86400)},
		"too many requests":         {16: limit("day", uint64(MaxRequests+1), 86400)},
		"requests beyond int64":     {16: limit("day", uint64(1<<63), 86400)},
		"negative requests":         {16: limit("day", -1, 86400)},
		"no window":                 {16: limit("day", 1, 0)},
		"window of 367 days":        {16: limit("day", 1, 367*86400)},
		"window beyond a Duration":  {16: limit("day", 1, uint64(1<<63))},
		"limits not ascending":      {16: [][]any{{"b", 1, 1}, {"a", 1, 1}}},
		"two limits of one name":    {16: [][]any{{"a", 1, 1}, {"a", 2, 1}}},
		"more limits than it holds": {16: cbor.RawMessage("\x9b\x7f\xff\xff\xff\xff\xff\xff\xff")},
	} {
		err := new(record).decode(forge(2, altered(t, data, set)))
		require.ErrorIs(t, err, ErrCorrupt, name)
		require.NotErrorIs(t, err, ErrUnknownVersion, name)
	}
	require.ErrorIs(t, new(record).decode(forge(1, altered(t, data, map[uint64]any{16: limit("day", 100, 86400)}))), ErrCorrupt, "limits in version 1")
	require.ErrorIs(t, new(record).decode(forge(1, altered(t, data, map[uint64]any{17: "pro"}))), ErrCorrupt, "a plan in version 1")
	body := data[1 : len(data)-4]
	for name, body := range map[string][]byte{
		"empty":           {},
		"an array":        []byte("\x80"),
		"an empty map":    []byte("\xa0"),
		"indefinite map":  append(append([]byte{0xbf}, body[1:]...), 0xff),
		"bytes follow":    append(slices.Clone(body), 0),
		"one field less":  append([]byte{body[0] - 1}, body[1:]...),
		"one field more":  append([]byte{body[0] + 1}, body[1:]...),
		"a field doubled": append(append([]byte{body[0] + 1}, body[1:19]...), body[1:]...),
		"text keys":       []byte("\xa1\x61a\x00"),
		"negative keys":   []byte("\xa1\x20\x00"),
	} {
		require.ErrorIs(t, new(record).decode(forge(1, body)), ErrCorrupt, name)
	}
}

func TestUnknownFieldsSurviveEveryRewrite(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	_, key := f.generate(KeyParams{TTL: time.Hour})
	unknown := goldenRecords(t)["full"].unknown
	f.rewrite(key.ID, func(r *record) { r.unknown = unknown })
	for i, write := range []func() error{
		func() error {
			_, err := f.Update(ctx, key.ID, func(c *Changes) error { c.Name += "x"; return nil })
			return err
		},
		func() error { _, _, err := f.Rotate(ctx, key.ID, time.Minute, nil); return err },
		func() error { _, err := f.EndGrace(ctx, key.ID); return err },
		func() error { _, err := f.Expire(ctx, key.ID, testNoon.Add(time.Minute)); return err },
		func() error { _, err := f.ClearExpiry(ctx, key.ID); return err },
	} {
		require.NoError(t, write())
		require.Equal(t, int64(i+1), f.store.updates.Load(), "it wrote")
		var r record
		require.NoError(t, r.decode(f.stored(key.ID).Data))
		require.Equal(t, unknown, r.unknown, "write %d", i)
	}
	_, err := f.Revoke(ctx, key.ID, "")
	require.NoError(t, err)
	for _, u := range unknown {
		require.True(t, bytes.Contains(f.stored(key.ID).Data, []byte(u.value)), "field %d", u.key)
	}
}

func TestARecordOf60KiBFitsAndNoLongerOne(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	_, key := f.generate(KeyParams{Name: "x"})
	fill := func(spare int) {
		f.rewrite(key.ID, func(r *record) {
			r.writeIDs = strings.Repeat("12345678", keepWriteIDs) // so that a write adds none
			r.unknown = nil
			data, err := r.encode()
			require.NoError(t, err)
			room := 60<<10 - len(data) - spare - 2 - 3 // a key of two bytes, a head of three
			r.unknown = []rawField{{99, string(binary.BigEndian.AppendUint16([]byte{0x59}, uint16(room))) + strings.Repeat("\x00", room)}}
		})
		require.Len(t, f.stored(key.ID).Data, 60<<10-spare)
	}
	rename := func(name string) error {
		_, err := f.Update(ctx, key.ID, func(c *Changes) error { c.Name = name; return nil })
		return err
	}
	fill(1)
	require.NoError(t, rename("xx"))
	require.Len(t, f.stored(key.ID).Data, 60<<10)
	before := f.stored(key.ID)
	requireField(t, rename("xxx"), "record")
	require.Equal(t, before, f.stored(key.ID))
}
