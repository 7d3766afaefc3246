// Package testserver starts real servers for tests, and breaks the line to them.
//
// [StartRedis], [StartReplica], [StartRedisTLS], [StartCluster] and
// [StartSentinel] start redis-server from PATH; [RedisURL] is one server for all
// tests of a process, or the user's own. [StartProxy] stands between a client and
// a server and loses, cuts, delays or swallows what passes. [MongoURL] and
// [StartFerretDB] are the same for the MongoDB protocol, with a server that is built
// from the module in ferretdb; package mongowire has one inside the test.
// [StartNginx] and [StartCaddy] start these with a configuration of the test's, and
// [StartProgram] any other server, such as one that the test has built.
//
// Every server listens on 127.0.0.1 only, on a port that was free, keeps its data
// in the temporary folder of its test and ends with it. It is ended by its own
// process id, and ends too if the test process is killed. If the test fails, the
// end of the server's log is shown. Where the machine lacks a server, the test is
// skipped with a line that says what to install; KEYSTORE_TEST_REQUIRE=redis,mongo,nginx,caddy
// makes that a failure.
//
// The functions and methods here that take or hold a testing.TB fail it with
// Fatal, and so belong on the goroutine of the test.
package testserver

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Missing skips the test because the machine lacks something, or fails it if
// KEYSTORE_TEST_REQUIRE lists name, which is "redis", "mongo", "nginx" or "caddy". what
// says what is missing and how to get it.
func Missing(tb testing.TB, name, what string) {
	tb.Helper()
	required := strings.Split(os.Getenv("KEYSTORE_TEST_REQUIRE"), ",")
	if slices.Contains(required, name) {
		tb.Fatalf("KEYSTORE_TEST_REQUIRE has %s, but %s", name, what)
	}
	tb.Skip(what)
}

// patience is how long a server may take for what it is asked to do. It is far
// more than any needs; a busy machine is no reason to fail.
const patience = 30 * time.Second

// await polls until check returns nil, or fails the test with its last answer.
func await(tb testing.TB, what string, check func() error) {
	tb.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	tb.Fatalf("after %v still not: %s: %v", patience, what, err)
}
