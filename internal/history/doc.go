// Package history judges the keystore by two tests against one plain model of a
// key, written from docs/design.md. It holds nothing but tests.
//
// TestHistories lets several clients work at the same few keys, through several
// keystores on one store whose backend calls are refused, lost, repeated, delayed
// and cancelled; porcupine then looks for an order of all calls that explains
// every answer. TestSequences lets rapid draw long sequences of calls on a whole
// store, with a clock and restarts, and compares every answer; what fails is
// shrunk. Proof tests show that wrong histories are rejected.
//
//	go test ./internal/history
//	KEYSTORE_TEST_SEED=7 go test ./internal/history     # the same choices again
//	KEYSTORE_TEST_LONG=1 go test -timeout 2h ./internal/history     # 25 times as much
//	go test ./internal/history -run TestSequences/memory -rapid.checks 100000
//
// The same seed makes the same choices; in which order the calls of a history
// meet is up to the scheduler. A further backend is a line in the table of
// backends_test.go.
package history
