package main

import (
	"encoding/base64"
	"fmt"
	"strings"

	"example.com/keystore"
)

// minPepper is the fewest bytes that keystore takes. It is checked here too,
// because its own error names the key id, which may be a pepper that was written
// on the wrong side.
const minPepper = 32

// parsePepper reads a pepper ring: KEY-ID:BASE64, separated by lines or commas.
// The first one makes new digests. No error holds a part of it.
func parsePepper(text string) (keystore.Hasher, error) {
	ring := make(map[string][]byte)
	first := ""
	for i, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		id, key, err := parsePepperLine(line)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		if ring[id] != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, problem("its key id is given twice"))
		}
		ring[id] = key
		if first == "" {
			first = id
		}
	}
	if first == "" {
		return nil, problem("it holds no key")
	}
	return keystore.HMAC(first, ring)
}

func parsePepperLine(line string) (id string, key []byte, err error) {
	id, encoded, found := strings.Cut(line, ":")
	if !found || id == "" {
		return "", nil, problem("it is not of the form KEY-ID:BASE64")
	}
	key, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", nil, problem("what follows the key id is not base64")
	}
	if len(key) < minPepper {
		return "", nil, problem(fmt.Sprintf("it has %d bytes, fewer than %d", len(key), minPepper))
	}
	return id, key, nil
}
