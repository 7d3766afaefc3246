package keystore

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"example.com/keystore/backend"
)

// The stored form of a key (backend.Record.Data) is a version byte, a CBOR map
// (RFC 8949) with integer keys in core deterministic encoding, and the CRC-32C
// of all before it, big-endian. docs/format.md describes it for other readers.
// Each version decodes for ever. Fields that older code may ignore get a new key,
// which older code keeps when it rewrites the record; a field that it must not
// ignore raises the version. A record has the lowest version that its fields allow:
// that of a key without limits can be read by all code.
const (
	firstVersion  = 1
	limitsVersion = 2 // code that knows version 1 alone would serve the key without limits
	recordVersion = 2 // the latest
	recordCRCLen  = 4
	maxRecordLen  = 60 << 10 // bytes; the contract of package backend allows 64 KiB
)

// Keys of the CBOR map.
const (
	fieldID = 1 + iota
	fieldOwner
	fieldName
	fieldDescription
	fieldPrefix
	fieldScopes   // array of text, ascending
	fieldMetadata // array of key, value, key, value, …, ascending by key
	fieldCreated  // Unix milliseconds, as all times
	fieldExpires
	fieldRevoked
	fieldRevokeReason
	fieldDisabled
	fieldSecrets  // array of [generation, scheme, key id, sum, until or null], newest first
	fieldWriteIDs // byte string, 8 bytes each, newest first

	// In version 2 alone; a record of that version has one of the two.
	fieldLimits = 16 // array of [name, requests, seconds], ascending by name
	fieldPlan   = 17
)

const (
	maxLiveSecrets = 5 // that are accepted at one time, the current one included
	keepDead       = 5 // superseded secrets that are remembered as such

	// The design asks for the last 4 write ids. 16 writers that read one
	// revision and then write it overtake each other by more, and a writer
	// whose id is out of sight cannot know whether its write happened.
	writeIDLen   = 8
	keepWriteIDs = 32
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// secret is one secret of a key, as its digest.
type secret struct {
	digest     Digest
	generation int
	until      time.Time // zero: the current secret; else accepted while now is before it
}

// live reports whether the secret is accepted. What ended at firstTime ended by
// every clock, also by one that is not set and reads a year before.
func (s *secret) live(now time.Time) bool {
	return s.until.IsZero() || s.until.After(firstTime) && now.Before(s.until)
}

// record is all that Data holds, and what open adds of the backend's fields to
// its key. GraceUntil and Generation of the key are for view to fill in.
type record struct {
	key      Key
	secrets  []secret // newest first, the current one at 0
	writeIDs string
	unknown  []rawField
}

// rawField is a field that a later version added, kept as it came.
type rawField struct {
	key   uint64
	value string
}

// view is the key as the caller sees it at a time.
func (r *record) view(now time.Time) (k Key) {
	r.viewTo(&k, now)
	return k
}

// viewTo writes the view to k. A key is large: lookups hand down where theirs is
// to be, for each copy on the way back is felt.
func (r *record) viewTo(k *Key, now time.Time) {
	*k = r.key
	k.Generation = r.secrets[0].generation
	for i := range r.secrets[1:] {
		if s := &r.secrets[i+1]; s.live(now) && s.until.After(k.GraceUntil) {
			k.GraceUntil = s.until
		}
	}
}

// wrote reports whether the write with this id is among the last ones.
func (r *record) wrote(id string) bool {
	for at := 0; at < len(r.writeIDs); at += writeIDLen {
		if r.writeIDs[at:at+writeIDLen] == id {
			return true
		}
	}
	return false
}

// lastWrite is the id of the write that made this state.
func (r *record) lastWrite() string { return r.writeIDs[:writeIDLen] }

// stamp gives the record a fresh write id and returns it.
func (r *record) stamp() (string, error) {
	var id [writeIDLen]byte
	if _, err := io.ReadFull(rand.Reader, id[:]); err != nil {
		return "", fmt.Errorf("keystore: the system's random source failed: %w", err)
	}
	ids := string(id[:]) + r.writeIDs
	r.writeIDs = ids[:min(len(ids), keepWriteIDs*writeIDLen)]
	return string(id[:]), nil
}

// tidy lowers the deadline of older secrets to the expiry of the key, so that
// extending the key later does not bring one back, and forgets the oldest of
// those that are superseded.
func (r *record) tidy(now time.Time) {
	if end := r.key.ExpiresAt; !end.IsZero() {
		for i := range r.secrets[1:] {
			if s := &r.secrets[i+1]; s.until.After(end) {
				s.until = end
			}
		}
	}
	dead := 0
	r.secrets = slices.DeleteFunc(r.secrets, func(s secret) bool {
		if s.live(now) {
			return false
		}
		dead++
		return dead > keepDead
	})
}

var cborEncoder = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constant
	}
	return mode
}()

// encode returns the stored form, ErrInvalid if it is too long.
func (r *record) encode() ([]byte, error) {
	k := &r.key
	fields := map[uint64]any{
		fieldID:       k.ID,
		fieldOwner:    k.Owner,
		fieldPrefix:   k.Prefix,
		fieldCreated:  k.CreatedAt.UnixMilli(),
		fieldSecrets:  encodeSecrets(r.secrets),
		fieldWriteIDs: []byte(r.writeIDs),
	}
	optional := func(key uint64, value any, set bool) {
		if set {
			fields[key] = value
		}
	}
	optional(fieldName, k.Name, k.Name != "")
	optional(fieldDescription, k.Description, k.Description != "")
	optional(fieldScopes, k.Scopes.list, k.Scopes.Len() > 0)
	optional(fieldMetadata, encodeMetadata(k.Metadata), k.Metadata.Len() > 0)
	optional(fieldExpires, k.ExpiresAt.UnixMilli(), !k.ExpiresAt.IsZero())
	optional(fieldRevoked, k.RevokedAt.UnixMilli(), !k.RevokedAt.IsZero())
	optional(fieldRevokeReason, k.RevokeReason, k.RevokeReason != "")
	optional(fieldDisabled, true, k.Disabled)
	optional(fieldLimits, encodeLimits(k.Limits), k.Limits.Len() > 0)
	optional(fieldPlan, k.Plan, k.Plan != "")
	for _, u := range r.unknown {
		fields[u.key] = cbor.RawMessage(u.value)
	}
	body, err := cborEncoder.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("keystore: encode the record: %w", err)
	}
	version := byte(firstVersion)
	if limited(k) {
		version = limitsVersion
	}
	data := append([]byte{version}, body...)
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, crcTable))
	limit := maxRecordLen
	if !k.RevokedAt.IsZero() {
		limit = backend.MaxDataLen // a revocation is never too long
	}
	if len(data) > limit {
		return nil, invalid("record", "it takes %d bytes, more than %d", len(data), limit)
	}
	return data, nil
}

func encodeSecrets(secrets []secret) []any {
	out := make([]any, len(secrets))
	for i, s := range secrets {
		var until any
		if !s.until.IsZero() {
			until = s.until.UnixMilli()
		}
		out[i] = []any{s.generation, s.digest.scheme, s.digest.kid, []byte(s.digest.sum), until}
	}
	return out
}

func encodeLimits(l Limits) []any {
	out := make([]any, 0, l.Len())
	for limit := range l.All() {
		out = append(out, []any{limit.Name, limit.Requests, int64(limit.Window / time.Second)})
	}
	return out
}

func encodeMetadata(m Metadata) []string {
	out := make([]string, 0, 2*m.Len())
	for k, v := range m.All() {
		out = append(out, k, v)
	}
	return out
}

// open checks what a backend returned and decodes it into r. The record must be
// the one that was asked for, and its Data must say the same id and owner: a
// record in the wrong place, or a reply that belongs to another request, is
// ErrCorrupt.
func (r *record) open(stored *backend.Record, id string) error {
	if stored.ID != id {
		return keyError(id, fmt.Errorf("%w: the store answered with another key", ErrCorrupt))
	}
	err := r.decode(stored.Data)
	switch {
	case err != nil:
		return keyError(id, err)
	case r.key.ID != id:
		return keyError(id, fmt.Errorf("%w: it holds the data of another key", ErrCorrupt))
	case r.key.Owner != stored.Owner:
		return keyError(id, fmt.Errorf("%w: it holds the data of another owner", ErrCorrupt))
	}
	r.key.revision, r.key.LastUsedAt = stored.Revision, stored.LastUsed
	return nil
}

// decode reads the stored form into r, which must be zero. All its texts share
// the one string that data is copied into.
func (r *record) decode(data []byte) error {
	if len(data) < 1+recordCRCLen {
		return fmt.Errorf("%w: %d bytes are too short", ErrCorrupt, len(data))
	}
	end := len(data) - recordCRCLen
	if crc32.Checksum(data[:end], crcTable) != binary.BigEndian.Uint32(data[end:]) {
		return fmt.Errorf("%w: its checksum does not match", ErrCorrupt)
	}
	if data[0] < firstVersion || data[0] > recordVersion {
		return fmt.Errorf("%w %d: this program reads up to version %d", ErrUnknownVersion, data[0], recordVersion)
	}
	d := decoder{s: string(data[1:end])}
	d.record(r)
	if d.problem == "" && limited(&r.key) != (data[0] >= limitsVersion) {
		d.problem = "its version is not that of its fields"
	}
	if d.problem != "" {
		return fmt.Errorf("%w: %s at byte %d", ErrCorrupt, d.problem, 1+d.at)
	}
	if d.at != len(d.s) {
		return fmt.Errorf("%w: bytes follow it", ErrCorrupt)
	}
	return nil
}

// mayBeLimited reports whether data may be of a key that has limits.
func mayBeLimited(data []byte) bool { return len(data) > 0 && data[0] != firstVersion }

// checkRecord says what makes a well-formed record one that encode never wrote.
func checkRecord(r *record) string {
	switch {
	case r.key.ID == "" || r.key.Owner == "" || r.key.Prefix == "":
		return "id, owner or prefix is missing"
	case r.key.CreatedAt.IsZero():
		return "the time of creation is missing"
	case len(r.secrets) == 0:
		return "it has no secret"
	case len(r.writeIDs)%writeIDLen != 0 || r.writeIDs == "":
		return "the write ids are cut"
	}
	for i := range r.secrets {
		s := &r.secrets[i]
		if (i == 0) != s.until.IsZero() {
			return "a deadline of its secrets is missing or too many"
		}
		if i > 0 && s.generation >= r.secrets[i-1].generation {
			return "the generations of its secrets do not descend"
		}
		if s.generation < 1 {
			return "a secret's generation is not positive"
		}
	}
	for i, p := range r.key.Metadata.pairs {
		if i > 0 && strings.Compare(r.key.Metadata.pairs[i-1].key, p.key) >= 0 {
			return "metadata is not ascending"
		}
	}
	for i, l := range r.key.Limits.list {
		if i > 0 && r.key.Limits.list[i-1].Name >= l.Name {
			return "limits are not ascending"
		}
		if l.problem() != "" {
			return "a limit is out of range"
		}
	}
	for i, s := range r.key.Scopes.list {
		if i > 0 && r.key.Scopes.list[i-1] >= s {
			return "scopes are not ascending"
		}
	}
	return ""
}
