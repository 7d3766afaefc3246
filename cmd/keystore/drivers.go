package main

// Every driver that the tool knows; importing one registers its URL schemes.
import (
	_ "example.com/keystore/badger"
	_ "example.com/keystore/memory"
	_ "example.com/keystore/redis"
)
