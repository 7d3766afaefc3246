package keystore

import (
	"context"
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

var referenceToken = regexp.MustCompile(`^([a-z][a-z0-9_]{0,15})_([0-9A-Za-z]{16})[0-9A-Za-z]{32}([0-9A-Za-z]{6})$`)

// referenceParses reports whether text is a token of one of the prefixes, by a
// regular expression and the slow checksum.
func referenceParses(text string, prefixes ...string) bool {
	m := referenceToken.FindStringSubmatch(text)
	return m != nil && !strings.HasSuffix(text, "\n") && slices.Contains(prefixes, m[1]) && referenceChecksum(text[:len(text)-6]) == m[3]
}

// FuzzToken: what parses is the one spelling of a token, and only that gets as
// far as the backend.
func FuzzToken(f *testing.F) {
	const token = "sk_live_0VmNmGnm8k2QpXw1E0HQaMzAfGAZVMj29YfBKWs5UXN0CHu90009IB"
	for _, seed := range []string{
		token, "ks_0VmNmGnmAAAAzzzz0123456789ABCDEFGHIJKLMNOPQRSTUV2OD1Pz", "a_0000000000000000000000000000000000000000000000003BkO4g",
		token + "\n", " " + token, token[1:], strings.ToUpper(token), "sk_test" + token[7:], "", "_", strings.Repeat("0", 71), token + token,
	} {
		f.Add(seed)
	}
	fix := newFixture(f, func(o *Options) {
		o.Prefix, o.AcceptPrefixes = "sk_live", []string{"ks", "a"}
		o.CacheSize = -1 // it would answer for an id that comes again
	})
	f.Fuzz(func(t *testing.T, text string) {
		parses := referenceParses(text, "sk_live", "ks", "a")
		digest, err := fix.Hash(text)
		require.Equal(t, parses, err == nil)
		require.Equal(t, parses, !digest.IsZero())

		calls := fix.store.calls.Load()
		key, err := fix.Lookup(context.Background(), text)
		require.Equal(t, Key{}, key)
		require.Equal(t, "invalid API key", err.Error())
		reason := reasonOf(t, err)
		require.Equal(t, parses, reason == ReasonUnknownKey)
		require.Equal(t, parses, fix.store.calls.Load() > calls)
		prefix, id, ok := splitToken(text)
		if parses {
			require.True(t, ok && len(text) <= 71)
			require.Equal(t, text, prefix+"_"+id+text[len(prefix)+17:len(text)-6]+referenceChecksum(text[:len(text)-6]))
		}
	})
}

// FuzzScopes: a set of scopes covers what the slow reference says, no more and
// no less.
func FuzzScopes(f *testing.F) {
	for _, seed := range [][2]string{
		{"orders:*", "orders:a:b"}, {"orders:*", "orders"}, {"orders:* users", "orders2:x"}, {"* keystore:admin", "keystore:admin"}, {"*", "keystore"},
		{"a:b:*", "a:b"}, {"", "a"}, {"a", ""}, {"keystore:*", "keystore:x"}, {"a::b", "a:b"}, {"*:*", "a:b"}, {"a\n", "a\n"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, granted, required string) {
		list := strings.Split(granted, " ")
		valid := len(list) <= 64 && !slices.ContainsFunc(list, func(g string) bool { return !referenceValidGranted(g) })
		set, err := newScopes(list)
		require.Equal(t, valid, err == nil, "%q", list)
		requiredErr := checkRequired([]string{required})
		require.Equal(t, referenceValidRequired(required), requiredErr == nil, "%q", required)
		if !valid || requiredErr != nil {
			return
		}
		want := slices.ContainsFunc(list, func(g string) bool { return referenceCovers(g, required) })
		require.Equal(t, want, set.cover(required), "%q covers %q", list, required)
		require.Equal(t, want, Key{Scopes: set}.CheckScopes(required) == nil)
	})
}

// cborRecord is the record as fxamacker/cbor reads it.
type cborRecord struct {
	ID          string       `cbor:"1,keyasint"`
	Owner       string       `cbor:"2,keyasint"`
	Name        string       `cbor:"3,keyasint"`
	Description string       `cbor:"4,keyasint"`
	Prefix      string       `cbor:"5,keyasint"`
	Scopes      []string     `cbor:"6,keyasint"`
	Metadata    []string     `cbor:"7,keyasint"`
	Created     *int64       `cbor:"8,keyasint"`
	Expires     *int64       `cbor:"9,keyasint"`
	Revoked     *int64       `cbor:"10,keyasint"`
	Reason      string       `cbor:"11,keyasint"`
	Disabled    bool         `cbor:"12,keyasint"`
	Secrets     []cborSecret `cbor:"13,keyasint"`
	WriteIDs    []byte       `cbor:"14,keyasint"`
	Limits      []cborLimit  `cbor:"16,keyasint"`
	Plan        string       `cbor:"17,keyasint"`
}

type cborLimit struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Requests int64
	Seconds  int64
}

type cborSecret struct {
	_          struct{} `cbor:",toarray"`
	Generation int
	Scheme     string
	KID        string
	Sum        []byte
	Until      *int64
}

func optionalTime(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}

// FuzzRecord: what our reader accepts, fxamacker/cbor accepts too and reads as
// the same, and our writer writes back byte for byte.
func FuzzRecord(f *testing.F) {
	goldens := goldenRecords(f)
	for _, name := range slices.Sorted(maps.Keys(goldens)) {
		r := goldens[name]
		data, err := r.encode()
		require.NoError(f, err)
		f.Add(data[1 : len(data)-4])
		for _, u := range r.unknown {
			f.Add([]byte(u.value))
		}
	}
	f.Add([]byte("\xbf\x01\xff"))
	f.Add([]byte{})
	strict, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: 32}.DecMode()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		var raw record // without a checksum no input gets through
		if err := raw.decode(body); err == nil {
			body = body[1 : len(body)-4]
		}
		data := forge(1, body)
		var r record
		if err := r.decode(data); err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			data, r = forge(2, body), record{}
			if err := r.decode(data); err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
				return
			}
		} else {
			require.ErrorIs(t, new(record).decode(forge(2, body)), ErrCorrupt, "no body is of two versions")
		}
		var fields map[uint64]cbor.RawMessage
		require.NoError(t, strict.Unmarshal(body, &fields), "another reader of CBOR refuses it")
		for _, u := range r.unknown {
			require.Equal(t, u.value, string(fields[u.key]))
			delete(fields, u.key)
		}
		for _, k := range slices.Sorted(maps.Keys(fields)) {
			require.True(t, k <= fieldWriteIDs || k == fieldLimits || k == fieldPlan, k)
		}
		known, err := cbor.Marshal(fields) // a struct's keys are int64, and an unknown one may be larger
		require.NoError(t, err)
		var other cborRecord
		require.NoError(t, strict.Unmarshal(known, &other))
		k := &r.key
		require.NotNil(t, other.Created)
		require.Equal(t, []string{other.ID, other.Owner, other.Name, other.Description, other.Prefix, other.Reason, string(other.WriteIDs)},
			[]string{k.ID, k.Owner, k.Name, k.Description, k.Prefix, k.RevokeReason, r.writeIDs})
		require.Equal(t, []time.Time{optionalTime(other.Created), optionalTime(other.Expires), optionalTime(other.Revoked)}, []time.Time{k.CreatedAt, k.ExpiresAt, k.RevokedAt})
		require.Equal(t, other.Disabled, k.Disabled)
		require.True(t, slices.Equal(other.Scopes, k.Scopes.list))
		require.True(t, slices.Equal(other.Metadata, encodeMetadata(k.Metadata)))
		require.Equal(t, other.Plan, k.Plan)
		require.Len(t, k.Limits.list, len(other.Limits))
		for i, l := range other.Limits {
			require.Equal(t, Limit{l.Name, l.Requests, time.Duration(l.Seconds) * time.Second}, k.Limits.list[i])
		}
		require.Len(t, r.secrets, len(other.Secrets))
		for i, s := range other.Secrets {
			require.Equal(t, secret{Digest{s.Scheme, s.KID, string(s.Sum)}, s.Generation, optionalTime(s.Until)}, r.secrets[i])
		}
		if len(data) > maxRecordLen {
			return
		}
		again, err := r.encode()
		require.NoError(t, err)
		require.Equal(t, data, again)
	})
}

// FuzzParseDigest: only what String writes parses.
func FuzzParseDigest(f *testing.F) {
	for _, seed := range []string{
		"sha256$$AAECAw", "hmac-sha256$2026-11$" + strings.Repeat("A", 43), "bcrypt$10$" + base64.RawStdEncoding.EncodeToString([]byte("$2a$10$x")), "argon2id$m65536t3p4$AA",
		"sha256$$AAECAw==", "sha256$$AAECAx", "$$", "a$b$c$d", "sha256$$AAEC\nAw", "sha256$$", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDigest(text)
		if err != nil {
			requireField(t, err, "digest")
			require.True(t, d.IsZero())
			return
		}
		require.Equal(t, text, d.String())
		again, err := NewDigest(d.Scheme(), d.KeyID(), d.Sum())
		require.NoError(t, err)
		require.Equal(t, d, again)
		require.True(t, utf8.ValidString(d.Scheme()+d.KeyID()))
	})
}

var referenceCursor = regexp.MustCompile(`^[0-9A-Za-z_-]{0,64}$`)

// FuzzCursor: a cursor that can be an id lists what comes after it; others are
// invalid.
func FuzzCursor(f *testing.F) {
	fix := newFixture(f)
	hers, _ := manyKeys(fix, 5)
	for _, seed := range append([]string{"", "0", "zzzz", "a b", "\x00", "é", strings.Repeat("0", 65), "_-", "a\n"}, hers...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, after string) {
		keys, next, err := fix.List(context.Background(), ListParams{Owner: "alice", After: after})
		require.Empty(t, next)
		if !referenceCursor.MatchString(after) || strings.HasSuffix(after, "\n") {
			requireField(t, err, "after")
			require.Nil(t, keys)
			return
		}
		require.NoError(t, err)
		want := 0
		for _, id := range hers {
			if id > after {
				want++
			}
		}
		require.Len(t, keys, want)
	})
}
