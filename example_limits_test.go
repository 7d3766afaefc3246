package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"example.com/keystore"
	_ "example.com/keystore/memory"
)

// The tiers of an API: free keys have 100 requests a day, paying ones 10 000.
func Example_tiers() {
	ctx := context.Background()
	opts := &keystore.Options{Now: func() time.Time { return noon }}
	opts.Plans = map[string][]keystore.Limit{
		"free": {{Name: "day", Requests: 100, Window: 24 * time.Hour}},
		"pro":  {{Name: "day", Requests: 10_000, Window: 24 * time.Hour}},
	}
	ks, err := keystore.Open(ctx, "memory://", opts) // any URL
	if err != nil {
		log.Fatal(err)
	}
	defer ks.Close()

	token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Plan: "free"})
	if err != nil {
		log.Fatal(err)
	}
	for range 100 {
		if _, err := ks.Lookup(ctx, token.Reveal()); err != nil {
			log.Fatal(err)
		}
	}
	_, err = ks.Lookup(ctx, token.Reveal()) // the 101st of a UTC day is refused, in whatever process
	if limited, ok := errors.AsType[*keystore.RateLimitError](err); ok {
		fmt.Println("429, again in", limited.RetryAfter)
	}

	key, err = ks.Update(ctx, key.ID, func(c *keystore.Changes) error { c.Plan = "pro"; return nil })
	if err != nil {
		log.Fatal(err)
	}
	result, err := ks.LookupWith(ctx, token.Reveal(), keystore.LookupParams{Cost: 10})
	fmt.Println(key.Plan, err, result.Limits[0].Remaining, "left until", result.Limits[0].Reset)
	for hour, err := range ks.Usage(ctx, key.ID, time.Time{}, time.Time{}) {
		fmt.Println(hour.Allowed, "allowed, which cost", hour.Cost, "and", hour.Limited, "refused", err)
	}
	// Output:
	// 429, again in 12h0m0s
	// pro <nil> 9890 left until 2026-11-24 00:00:00 +0000 UTC
	// 101 allowed, which cost 110 and 1 refused <nil>
}
