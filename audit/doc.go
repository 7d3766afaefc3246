// Package audit has what keystore.Options.Audit can be set to: a file of JSON
// lines, a slog.Logger, and several Auditors at once.
//
//	trail, err := audit.OpenFile("/var/log/myapp/keys.jsonl", nil)
//	…
//	defer trail.Close() // after the Keystore, which delivers events as it closes
//	ks, err := keystore.Open(ctx, url, &keystore.Options{Audit: trail})
//
// What is delivered when, and what may be lost, docs/audit.md says.
package audit
