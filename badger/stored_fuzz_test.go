package badger_test

import (
	"testing"

	"example.com/keystore/badger"
)

// Whatever is stored, the decoders of counts and tallies do not panic, and what they
// accept is the same after another round. Each content is tried as it is, and with
// the right checksum behind it.
func FuzzDecodeCounts(f *testing.F) {
	f.Add([]byte("\x01\x80\x00\x00\x00\x0a\x4c\xb8\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08\x03day\x80\xa3\x05\x80\xa3\x05\xac\x02"))
	f.Fuzz(func(t *testing.T, content []byte) { fuzzDecoder(t, badger.RecodeCounts, string(content)) })
}

func FuzzDecodeTally(f *testing.F) {
	f.Add([]byte("\x01\x80\x00\x00\x00\x00\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00\x00\x09\x0307a\x05"))
	f.Fuzz(func(t *testing.T, content []byte) { fuzzDecoder(t, badger.RecodeTally, string(content)) })
}

func fuzzDecoder(t *testing.T, recode func(string) (string, error), content string) {
	for _, value := range []string{content, withSum(content)} {
		once, err := recode(value)
		if err != nil {
			continue
		}
		if len(once) > len(value) {
			t.Fatalf("%q became longer: %q", value, once)
		}
		if again, err := recode(once); err != nil || again != once {
			t.Fatalf("%q: %q became %q: %v", value, once, again, err)
		}
	}
}
