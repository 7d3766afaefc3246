// Package limits holds tests only: what limits and usage promise when many
// processes share a store, at the edges of windows, while keys and plans change, and
// while the store fails.
//
//	go test ./internal/limits
//	KEYSTORE_TEST_LONG=1 go test -v -timeout 1h ./internal/limits
//
// The second is the long form: more windows, more callers' tries, and a purge of a
// million spent windows.
//
// Three workers share a store. A worker is a keystore whose clock the test sets; it is
// a process of this test binary, or stands in that of the test where the store is
// memory or a Badger folder that this process holds. The test has all of them look
// tokens up at the same time, and judges the answers of all together: how many passed,
// what each was told to be left, and what the store counts in the end.
package limits
