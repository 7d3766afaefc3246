// Package keystore is an embeddable store of API keys: it generates them, shows
// each once, stores a digest, and on every request looks up what a presented
// token may do. Keys have scopes and an expiry, are rotated with an overlap,
// revoked, listed and purged. Where they are kept is a driver's concern: package
// badger keeps them in a folder of the program, packages redis and mongo in servers
// that several machines share, package memory in memory, and a driver of your own
// can be proven with package conformance. [Copy] moves keys from one to another.
//
//	import _ "example.com/keystore/badger"
//
//	ks, err := keystore.Open(ctx, "badger:///var/lib/myapp/keys", nil)
//	...
//	token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}})
//	// show token.Reveal() to alice, this once
//	...
//	key, err := ks.Lookup(ctx, presented, "orders:read")
//
// # Tokens
//
// A token is <prefix>_<id><secret><checksum>, for example "sk_live_" and 54
// characters of 0-9A-Za-z:
//
//   - the prefix (Options.Prefix) names the environment;
//   - the id, 16 characters, is public: it is the key's name in the store, in logs
//     and in the management calls, and sorts by creation time;
//   - the secret, 32 characters, is 190 bits from crypto/rand;
//   - the checksum, 6 characters, is a CRC-32. It catches typing errors before
//     they cost anything. It authenticates nothing.
//
// Exactly one spelling of a token is accepted: nothing is trimmed or folded.
// The type [Token] shows its secret to nobody who does not call Reveal.
//
// # Digests
//
// The store holds a digest of the whole token. SHA-256 is the default, and right:
// a slow hash protects secrets that can be guessed, and 190 random bits cannot.
// [HMAC] adds a pepper kept apart from the store. [Bcrypt] and [Argon2id] are for
// sites whose policy asks for them.
//
// # Scopes
//
// A scope is segments of [A-Za-z0-9._-] joined by ":". A granted scope may be "*"
// or end in ":*": "orders:*" covers every scope that begins with "orders:", and
// not "orders" itself. A required scope has no wildcard, and all required scopes
// must be covered. A key without scopes covers none. Scopes whose first segment
// is "keystore" administer the store itself: only the literal scope covers them,
// and Generate grants them only with KeyParams.AllowReserved.
//
// # Limits and usage
//
// A key may have limits, of its own and by its plan: so many requests in each
// window of time, such as a UTC day. A lookup spends one request of each, or none,
// in the store, which all processes share; see [Limit] and [LimitFailure].
// Lookups are counted by key, owner and hour; see [Keystore.Usage]. docs/limits.md has
// the details.
//
// # The life of a key
//
// A key is active until it expires, is disabled or is revoked; see [State]. What
// a state still allows:
//
//   - revoked: Get, List, Revoke, Delete. Nothing undoes a revocation.
//   - expired: also Update, Expire and ClearExpiry. Extending revives the key,
//     until it is purged.
//   - disabled: everything that the two above do not forbid. Update enables it.
//
// Rotate replaces the secret and leaves everything else. The secret before it is
// accepted for a grace period; up to five are accepted at one time. Purge deletes
// keys that were revoked or expired longer than Options.Retention ago.
//
// # What is promised
//
// Every change is one compare-and-swap of one record. Once Revoke, Rotate with
// grace 0, EndGrace, Expire, Update or Delete has returned without an error, every
// Lookup that begins later through the same Keystore sees it, or through another
// one in this process on the same Backend value, and every Lookup that begins more
// than Options.CacheTTL later anywhere else on the same store: most do after one
// message. docs/caching.md says what that rests on. All of it holds as
// long as the store keeps what it acknowledged: after a failover a Redis may not,
// and a revocation may be undone.
//
// A lookup of a key in the cache does not ask the store, nor look at its context,
// unless the key has limits.
// Refusals for scope, disabled and expired may lag behind a change in another
// process by CacheTTL too. A secret that a rotation has returned, in whatever
// process, is not refused: the lookup waits up to 50 ms for the key to be read
// again.
//
// A failure of the store is ErrUnavailable, never "invalid API key". A change that
// may or may not have happened is ErrUnknownOutcome, after the keystore has sent
// it again and read back; Generate and Rotate then return the token too, since it
// may be live. Calling Revoke, Expire or EndGrace again is safe.
//
// Expiry is judged by the keystore's clock (Options.Now): between machines, the
// skew of their clocks adds to it.
//
// Last-used times and usage are best effort: they are written every
// Options.TouchInterval and UsageInterval, and a killed process loses those of the
// last interval.
//
// What survives a crash is the driver's promise; see its documentation.
//
// # Errors
//
// Compare errors with errors.Is. A [LookupError] carries the exact [Reason] for
// logs and audits; what a client should be told is ErrUnauthenticated,
// ErrMissingScope, ErrRateLimited or "try again later". No error text holds a token, a secret, or
// any part of a URL but its scheme.
package keystore
