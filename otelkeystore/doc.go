// Package otelkeystore tells OpenTelemetry of the operations of a Keystore, as
// spans and metrics. Programs that do not import it do not carry OpenTelemetry.
//
//	observer, err := otelkeystore.New(nil) // the global providers
//	…
//	ks, err := keystore.Open(ctx, url, &keystore.Options{Observer: observer})
//	…
//	stop, err := otelkeystore.ObserveStats(ks, nil) // the read cache
//
// # Spans
//
// Each operation is a span keystore.NAME, such as keystore.lookup or
// keystore.revoke_all, below the span of the context. Each call of the store is a
// span keystore.store.NAME of kind client, below that of its operation where it
// has one: a lookup that the cache decides has none. Their attributes:
//
//   - keystore.operation: NAME.
//   - keystore.outcome: ok; refused, by the key, its state or the arguments; failed,
//     where the store or the program did; unknown, where a change may have happened;
//     canceled, by the caller.
//   - keystore.reason, unless it is ok: why. Of a lookup the keystore.Reason, of
//     others not_found, conflict, state, invalid, unavailable and the like: one of
//     a few words, never the text of an error, which drivers may put addresses in.
//   - error.type, where it failed or is unknown: the same. Only these have the
//     status Error. A key that is refused is no error of the service.
//   - keystore.key.id, with Options.KeyIDs.
//
// The attributes of the semantic conventions for databases are not set: they would
// have to name the database, which a Keystore does not know. Owners, tokens and
// digests are in no attribute.
//
// # Metrics
//
// The histograms keystore.operation.duration and keystore.store.call.duration, in
// seconds, have the same attributes but for the key's id. They count, too: lookups
// by reason are the counts of keystore.operation.duration. Their buckets begin at a
// microsecond. [ObserveStats] adds the counts of the read cache.
package otelkeystore
