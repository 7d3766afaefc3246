// Package fleet holds tests only: how long a change that one process makes may go
// unnoticed in others that share the store, and cache what they read of it.
//
//	go test -v ./internal/fleet
//	KEYSTORE_TEST_LONG=1 KEYSTORE_FLEET_OUT=fleet.txt go test -v -timeout 2h ./internal/fleet
//
// The second is the long form, which takes the default bound and appends its figures
// to a file, in the format of Go benchmarks.
//
// Three processes of this test binary make a fleet: a changer, which revokes, rotates,
// disables, narrows and deletes keys, and two readers, which look them up all the
// while. Each change is made when both readers have the key in their caches, and they
// go on until some time after the bound has passed. Of each change the test knows, by
// a clock that all processes share, when it returned, and when the last lookup
// elsewhere began that was accepted in spite of it. One that began later than the
// return and CacheTTL is a violation of what Options.CacheTTL promises.
//
// The same is done while nothing is wrong, while the readers hear nothing of changes
// (their connections for Watch are cut or silent, and all others work), and while the
// server is restarted.
//
// judge_test.go is what decides, and proof_test.go shows that it can.
// TestFleetWithABrokenBound lets a fleet do what must not be and sees that it is found
// out.
package fleet
