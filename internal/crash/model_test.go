package crash

import (
	"slices"
	"time"

	"example.com/keystore"
)

// Every process of a round reads the same time from its clock, so that all that
// a change does can be told beforehand.
const (
	roundLength = time.Hour
	retention   = time.Hour        // what ended in one round is due for Purge in the next
	grace       = 30 * time.Minute // of a rotation with grace: over in the next round
)

// facts are what the store says of a key, but for its last use. They are
// comparable. Times are Unix milliseconds, 0 for never.
type facts struct {
	ID, Owner, Name, Mark, Scope, Reason string
	Created, Expires, Revoked, Grace     int64
	Disabled                             bool
	Generation                           int
	Revision                             uint64
}

func factsOf(k keystore.Key) facts {
	f := facts{
		ID: k.ID, Owner: k.Owner, Name: k.Name, Reason: k.RevokeReason,
		Created: ms(k.CreatedAt), Expires: ms(k.ExpiresAt), Revoked: ms(k.RevokedAt), Grace: ms(k.GraceUntil),
		Disabled: k.Disabled, Generation: k.Generation, Revision: k.Revision(),
	}
	f.Mark, _ = k.Metadata.Get("mark")
	for s := range k.Scopes.All() {
		f.Scope += s
	}
	return f
}

func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// key is what the model knows of a key at one moment.
type key struct {
	Facts    facts // Grace is left out: see at
	LastUsed int64
	Secrets  []issued // oldest first; the last is the current one
	Gone     bool     // deleted or purged
}

// issued is a token and when it stops working.
type issued struct {
	Token string // "" if nobody has heard of it
	Until int64  // 0: it is the current one; ended: for good
}

const ended = -1

func (s issued) live(now int64) bool { return s.Until == 0 || now < s.Until }

// at returns the facts as they are seen at a time.
func (k key) at(now int64) facts {
	f := k.Facts
	for _, s := range k.Secrets {
		if s.live(now) {
			f.Grace = max(f.Grace, s.Until)
		}
	}
	return f
}

func (k key) expired(now int64) bool { return k.Facts.Expires != 0 && now >= k.Facts.Expires }

// purgeAt is when Purge may delete the key, 0 for never.
func (k key) purgeAt() int64 {
	end := k.Facts.Expires
	if end == 0 || k.Facts.Revoked != 0 && k.Facts.Revoked < end {
		end = k.Facts.Revoked
	}
	if end == 0 {
		return 0
	}
	return end + retention.Milliseconds()
}

func (k key) due(now int64) bool {
	at := k.purgeAt()
	return !k.Gone && at != 0 && at <= now
}

// reason is what Lookup must say to the i-th secret; "" if it accepts it.
func (k key) reason(i int, now int64) keystore.Reason {
	switch {
	case k.Gone:
		return keystore.ReasonUnknownKey
	case k.Facts.Revoked != 0:
		return keystore.ReasonRevoked
	case k.Facts.Disabled:
		return keystore.ReasonDisabled
	case !k.Secrets[i].live(now):
		return keystore.ReasonSuperseded
	case k.expired(now):
		return keystore.ReasonExpired
	}
	return ""
}

// The kinds of changes.
const (
	doGenerate    = "Generate"
	doUpdate      = "Update"
	doDisable     = "Update (disable)"
	doEnable      = "Update (enable)"
	doExpire      = "Expire"
	doRotate      = "Rotate"
	doRotateGrace = "Rotate with grace"
	doEndGrace    = "EndGrace"
	doRevoke      = "Revoke"
	doDelete      = "Delete"
	doTouch       = "Touch"
	doPurge       = "Purge"
)

// change is one call that changes something.
type change struct {
	N    int // counts the changes of a process
	Kind string
	IDs  []string // the keys it changes; none for Generate and Purge
	Mark string   // unique: the new name, mark or reason
	Own  string   // owner, of Generate
	At   int64    // the new expiry, or time of use
	Now  int64
}

// apply returns the key as it is after the change. token is the one that the
// change issued, "" if it is not known.
func (k key) apply(c change, token string) key {
	k.Secrets = slices.Clone(k.Secrets)
	f := &k.Facts
	f.Revision++
	switch c.Kind {
	case doUpdate:
		f.Mark = c.Mark
	case doDisable, doEnable:
		f.Disabled = c.Kind == doDisable
	case doExpire:
		f.Expires = c.At
	case doRotate, doRotateGrace:
		deadline := int64(ended)
		if c.Kind == doRotateGrace {
			deadline = earlier(c.Now+grace.Milliseconds(), f.Expires)
		}
		k.endSecrets(deadline)
		k.Secrets = append(k.Secrets, issued{Token: token})
		f.Generation++
	case doEndGrace:
		k.endSecrets(ended)
		k.Secrets[len(k.Secrets)-1].Until = 0
	case doRevoke:
		f.Revoked, f.Reason = c.Now, c.Mark
	case doDelete, doPurge:
		return key{Facts: facts{ID: f.ID, Owner: f.Owner}, Secrets: k.Secrets, Gone: true}
	case doTouch:
		f.Revision-- // Touch leaves it alone
		k.LastUsed = max(k.LastUsed, c.At)
		return k
	}
	// An older secret never outlives the key, not even if that is extended later.
	for i := range k.Secrets {
		if s := &k.Secrets[i]; s.Until > 0 {
			s.Until = earlier(s.Until, f.Expires)
		}
	}
	return k
}

// endSecrets lowers the end of every secret to the deadline.
func (k *key) endSecrets(deadline int64) {
	for i := range k.Secrets {
		if s := &k.Secrets[i]; s.Until == 0 || s.Until > deadline {
			s.Until = deadline
		}
	}
}

func earlier(at, end int64) int64 {
	if end != 0 && end < at {
		return end
	}
	return at
}

// generated is the key that a Generate makes.
func generated(c change, id, token string) key {
	return key{
		Facts: facts{
			ID: id, Owner: c.Own, Name: c.Mark, Scope: "orders:read",
			Created: c.Now, Expires: c.At, Generation: 1, Revision: 1,
		},
		Secrets: []issued{{Token: token}},
	}
}
