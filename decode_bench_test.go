package keystore

import (
	"testing"
	"time"
)

// BenchmarkDecodeRecord is the part of a lookup that reads the record.
func BenchmarkDecodeRecord(b *testing.B) {
	scopes, err := newScopes([]string{"orders:*", "invoices:read"})
	if err != nil {
		b.Fatal(err)
	}
	now := time.UnixMilli(1_790_000_000_000).UTC()
	d, err := SHA256().Hash("a token")
	if err != nil {
		b.Fatal(err)
	}
	r := record{
		key: Key{
			ID: "0123456789ABCDEF", Owner: "customer-1", Name: "a key of some program", Prefix: "ks",
			Scopes: scopes, CreatedAt: now, ExpiresAt: now.Add(90 * 24 * time.Hour),
		},
		secrets:  []secret{{digest: d, generation: 1}},
		writeIDs: "12345678",
	}
	data, err := r.encode()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := new(record).decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
