package keystore

import "context"

// Observer is told of every operation of a Keystore, and of every call that it
// makes of the store, for traces and metrics. Package otelkeystore has one for
// OpenTelemetry.
type Observer interface {
	// Begin is called as an operation begins, on the goroutine of its caller: it
	// must be quick, lookups from the cache included, and safe for concurrent
	// use. The operation goes on with the context that it returns, which must
	// descend from ctx, and calls end once with its error.
	Begin(ctx context.Context, op Operation) (in context.Context, end func(err error))
}

// Operation is what an Observer is told of.
type Operation struct {
	// Name is that of the method in lower case with underscores: "lookup",
	// "revoke_all"; of a call of the store likewise: "get", "create".
	Name string
	// Store tells a call of the store from an operation of the Keystore. Some
	// are made in the background, outside any operation.
	Store bool
	// KeyID is the key it is about, "" where it is not known yet or there are
	// several.
	KeyID string
}
