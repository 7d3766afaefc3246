package httpauth

import (
	"crypto/rand"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	// The random source of FIPS mode begins by measuring how a clock jitters, which
	// that of a synctest bubble does not.
	if _, err := rand.Read(make([]byte, 1)); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// The cases of credential handling that other software got wrong, and where each
// is tested:
//
//	38 empty, blank and unset credentials          TestRefusedEmpty
//	39 misspelt tokens                             TestOnlyTheOneSpellingPasses
//	40 two credentials                             TestCombinations, TestRawRequests, TestHTTP2
//	41 overlong credentials cost no backend call   TestOverlongCostsNothing
//	42 a checksum authenticates nothing            TestChecksumIsNoProof
//	43 one answer for all that is not valid        TestOneAnswerForAll
//	44 a known id with a wrong secret, cached      cache_attack_test.go of the root package; TestWrongSecretOfACachedKey
//	45 scopes match as wholes                      TestScopesMatchWhole; scope_test.go of the root package
//	46 a key creates narrower keys only            package adminapi
//	47 owner switched off, scopes narrowed         TestOwnerAndScopesChange
//	48 paths that need no key                      TestOpenPaths, FuzzOpen
//	49 the throttle's table overflows              TestThrottleOverflow and others of throttle_test.go
//	50 no secret in logs, errors, traces, stores   TestPlantedToken; redact_test.go of the root package, and internal/server
//	51 challenges and statuses                     TestAnswers, TestRealmCannotInject, TestOutageIs503
