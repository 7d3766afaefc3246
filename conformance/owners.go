package conformance

import (
	"fmt"
	"slices"
	"strings"

	"example.com/keystore/backend"
)

var ownersChecks = []check{
	{"that look alike", ownersAlike},
	{"that are not there", ownersNotThere},
	{"whose records would share an index key", ownersSharingKeys},
}

const onlyThisOwner = rule("an owner is compared byte for byte")

// alike are owners that a store confuses if it cuts, folds, normalizes, joins or
// interprets them.
var alike = []string{
	"a", "A", "aa", "ab", "a:b", "a/b", "a.b", "a b", "a-b", "a_b", "a\x1fb", "a\x1f", "a:", "a/", "a\\", "a\xc2\xa0",
	" a", "a ", "a\n", "\ta", "a*", "*", "?", "[ab]", "a?", "^a", ".", "..", ".*", "$", "$ne", `{"$ne":""}`, "$a.b",
	"%", "a%", "_", "'", `"`, "' OR ''='", "{a}", "{", "}", "0", "1", "01", "null", "nil", "true",
	"\u00e9", "e\u0301", "\u00c9", "\u00df", "ss", "\u1e9e", "\ufb01", "fi", "\u00c5", "A\u030a", "\u212b", "日本", "日本語", "日", "🔑", "🔑🔑",
	"i", "I", "\u0131", "\u0130", "\u200b", "a\u200b", "\ufeffa", "\U0010ffff", "\u007f", "\u0001",
	strings.Repeat("o", 256), strings.Repeat("o", 255), strings.Repeat("o", 255) + "p", strings.Repeat("\u00e9", 128),
}

func ownersAlike(s *store) {
	b := s.handle()
	ids := make(map[string][]string)
	for i, owner := range alike {
		for _, side := range []string{"left", "right"} {
			r := backend.Record{ID: fmt.Sprintf("%s-%03d", side, i), Owner: owner, Data: []byte(owner)}
			s.create(b, r)
			ids[owner] = append(ids[owner], r.ID)
		}
	}
	for _, owner := range alike {
		var got []string
		for _, limit := range []int{1, backend.MaxLimit} {
			for _, r := range s.walk(b, backend.ListOptions{Owner: owner, Limit: limit}) {
				got = append(got, r.ID)
			}
			if !slices.Equal(got, ids[owner]) {
				onlyThisOwner.Errorf(s, "owner %.40q has %q, want %q", owner, got, ids[owner])
			}
			got = nil
		}
		if r := s.get(b, ids[owner][0]); r.Owner != owner {
			onlyThisOwner.Errorf(s, "owner is %.40q, want %.40q", r.Owner, owner)
		}
	}
}

func ownersNotThere(s *store) {
	b := s.handle()
	for i, owner := range []string{"alice", "alice:b", "bob*", "Bob", "\u00e9"} {
		s.create(b, backend.Record{ID: fmt.Sprintf("key-%d", i), Owner: owner, Data: []byte("d")})
	}
	for _, owner := range []string{
		"a", "alic", "alice:", "alice ", "ALICE", "b", "bob", "bob**", "BOB", "*", ".", ".*", "e\u0301", "e",
		`{"$gt":""}`, "$", "%", "key-0", "0",
	} {
		for _, r := range s.all(b, owner) {
			onlyThisOwner.Errorf(s, "owner %q has %q of owner %q", owner, r.ID, r.Owner)
		}
	}
}

// ownersSharingKeys has pairs of owner and ID that are the same once they are
// put together, with whatever an ID may hold between them.
func ownersSharingKeys(s *store) {
	for _, sep := range []string{"", "-", "_", "0", "a"} {
		b := s.openNamed(s.name + "s" + fmt.Sprintf("%x", sep))
		whole := []string{"x", "y", "z", "w"}
		for cut := 1; cut < len(whole); cut++ {
			owner, id := strings.Join(whole[:cut], sep), strings.Join(whole[cut:], sep)
			want := s.create(b, backend.Record{ID: id, Owner: owner, Data: []byte(owner)})
			s.listed(onlyThisOwner, s.all(b, owner), []string{id})
			s.holds(onlyThisOwner, b, want)
		}
		s.delete(b, "w")
		for cut := 1; cut < len(whole)-1; cut++ {
			owner, id := strings.Join(whole[:cut], sep), strings.Join(whole[cut:], sep)
			s.listed(onlyThisOwner, s.all(b, owner), []string{id})
		}
	}
}
