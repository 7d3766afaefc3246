package otelkeystore_test

import (
	"context"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"example.com/keystore"
	_ "example.com/keystore/memory"
	"example.com/keystore/otelkeystore"
)

// A program would export to a collector, and leave the providers to otel's global
// ones.
func Example() {
	ctx := context.Background()
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(exporter))

	observer, err := otelkeystore.New(&otelkeystore.Options{TracerProvider: provider})
	if err != nil {
		log.Fatal(err)
	}
	ks, err := keystore.Open(ctx, "memory://", &keystore.Options{Observer: observer})
	if err != nil {
		log.Fatal(err)
	}
	defer ks.Close()
	stop, err := otelkeystore.ObserveStats(ks, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	token, _, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := ks.Lookup(ctx, token.Reveal(), "orders:read"); err != nil {
		fmt.Println(err)
	}
	for _, span := range exporter.GetSpans() {
		fmt.Println(span.Name, span.Attributes[1].Value.AsString())
	}
	// Output:
	// missing scope: orders:read
	// keystore.store.create ok
	// keystore.generate ok
	// keystore.store.get ok
	// keystore.lookup refused
}
