package main

import (
	"github.com/redis/go-redis/v9/logging"

	// Every driver that the tool knows; importing one registers its URL schemes.
	_ "example.com/keystore/badger"
	_ "example.com/keystore/memory"
	_ "example.com/keystore/mongo"
	_ "example.com/keystore/redis"
)

// go-redis writes to standard error as it pleases, where --json promises JSON.
// What matters comes back as an error.
func init() { logging.Disable() }
