package main

import (
	"fmt"
	"strconv"
	"strings"

	"example.com/keystore"
)

// hashSchemes are the values of --hash; two of them take costs behind a colon.
var hashSchemes = []string{"sha256", "hmac-sha256", "bcrypt", "argon2id"}

// defaultBcryptCost is that of golang.org/x/crypto/bcrypt.
const defaultBcryptCost = 10

const notHash = problem("it is none of sha256, hmac-sha256, bcrypt, bcrypt:COST, argon2id and argon2id:mKIBtPASSESpLANES")

// hashers returns what makes new digests and what else verifies: every scheme,
// since whoever manages a store should not have to know how it came to be. peppers
// is nil where there is none.
func hashers(scheme string, peppers keystore.Hasher) (current keystore.Hasher, others []keystore.Hasher, err error) {
	current, err = newHasher(scheme, peppers)
	if err != nil {
		return nil, nil, err
	}
	bcrypt, err := keystore.Bcrypt(defaultBcryptCost) // verifies any cost
	if err != nil {
		return nil, nil, err
	}
	argon2id, err := keystore.Argon2id(keystore.Argon2Params{}) // likewise
	if err != nil {
		return nil, nil, err
	}
	all := []keystore.Hasher{keystore.SHA256(), bcrypt, argon2id}
	if peppers != nil {
		all = append(all, peppers)
	}
	for _, h := range all {
		if h.Scheme() != current.Scheme() {
			others = append(others, h)
		}
	}
	return current, others, nil
}

func newHasher(text string, peppers keystore.Hasher) (keystore.Hasher, error) {
	scheme, cost, costs := strings.Cut(text, ":")
	switch {
	case text == "" && peppers != nil, text == "hmac-sha256" && peppers != nil:
		return peppers, nil
	case text == "hmac-sha256":
		return nil, problem("hmac-sha256 needs a pepper: --pepper-file or KEYSTORE_PEPPER")
	case text == "", text == "sha256":
		return keystore.SHA256(), nil
	case text == "bcrypt":
		return keystore.Bcrypt(defaultBcryptCost)
	case text == "argon2id":
		return keystore.Argon2id(keystore.Argon2Params{})
	case scheme == "bcrypt" && costs:
		n, err := strconv.Atoi(cost)
		if err != nil {
			return nil, notHash
		}
		return keystore.Bcrypt(n)
	case scheme == "argon2id" && costs:
		return parseArgon2id(cost)
	}
	return nil, notHash
}

func parseArgon2id(cost string) (keystore.Hasher, error) {
	var p keystore.Argon2Params
	_, err := fmt.Sscanf(cost, "m%dt%dp%d", &p.Memory, &p.Time, &p.Threads)
	// Zero would stand for a default, and Sscanf ignores what follows.
	if err != nil || p.Memory == 0 || p.Time == 0 || p.Threads == 0 ||
		cost != fmt.Sprintf("m%dt%dp%d", p.Memory, p.Time, p.Threads) {
		return nil, notHash
	}
	return keystore.Argon2id(p)
}
