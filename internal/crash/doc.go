// Package crash holds tests only: what is left of a store after kill -9, after
// damage to Badger's files, after compaction and garbage collection, and on a
// disk that is full.
//
//	go test ./internal/crash
//	KEYSTORE_TEST_LONG=1 go test -timeout 2h -v ./internal/crash
//
// The second is the long form; with -v the tests log what they counted. Each
// logs its seed, which KEYSTORE_TEST_SEED takes. The tests of the full disk mount
// a tmpfs, for which they need Linux and root.
//
// Processes to be killed are this test binary again, in one of the roles of
// child_test.go. model_test.go says what a change does to a key, and ledger_test.go
// is the list of changes that the checking process keeps while the killed ones
// make them.
package crash
