package history

// All of these begin with a key that was generated at +0: revision 1, secret 1.

var wrongHistories = map[string]func(*script){
	"a lookup is accepted after an acknowledged revocation": func(s *script) {
		s.call(revoke("leaked"), shown(2, 1, revokedAt(0, "leaked")))
		s.call(present(1), shown(1, 1, nil).by(1))
	},
	"a revocation is taken back": func(s *script) {
		s.call(revoke("leaked"), shown(2, 1, revokedAt(0, "leaked")))
		s.call(get, shown(3, 1, nil))
	},
	"a second revocation changes the reason": func(s *script) {
		s.call(revoke("leaked"), shown(2, 1, revokedAt(0, "leaked")))
		s.at(10)
		s.call(revoke("tidying"), shown(3, 1, revokedAt(10, "tidying")))
	},
	"a revocation of unknown outcome that was seen is not there later": func(s *script) {
		s.call(revoke("leaked"), shown(2, 1, revokedAt(0, "leaked")).unclear())
		s.call(present(1), refused("revoked"))
		s.call(present(1), shown(1, 1, nil).by(1))
	},
	"an acknowledged update is lost": func(s *script) {
		s.call(count, shown(2, 1, counted(1)))
		s.call(get, shown(1, 1, nil))
	},
	"two updates that overlap make one revision": func(s *script) {
		s.together(count, shown(2, 1, counted(1)), count, shown(2, 1, counted(1)))
	},
	"an update happens twice": func(s *script) {
		s.call(count, shown(2, 1, counted(1)))
		s.call(get, shown(3, 1, counted(2)))
	},
	"an update of unknown outcome happens twice": func(s *script) {
		s.call(count, shown(2, 1, counted(1)).unclear())
		s.call(get, shown(2, 1, counted(1)))
		s.call(get, shown(3, 1, counted(2)))
	},
	"a change that failed cleanly shows up later": func(s *script) { // as such it is not in the history
		s.call(get, shown(1, 1, nil))
		s.call(get, shown(2, 1, counted(1)))
	},
	"a change that the state forbade shows up later": func(s *script) {
		s.call(revoke(""), shown(2, 1, revokedAt(0, "")))
		s.call(count, forbidden)
		s.call(get, shown(3, 1, func(v *view) { counted(1)(v); revokedAt(0, "")(v) }))
	},
	"the state forbids a change that it allows": func(s *script) { s.call(count, forbidden) },
	"a key goes back to an older revision": func(s *script) {
		s.call(count, shown(2, 1, counted(1)).unclear())
		s.call(get, shown(2, 1, counted(1)))
		s.call(get, shown(1, 1, nil))
	},
	"two rotations make one generation": func(s *script) {
		s.together(rotate(2, 0), shown(2, 2, nil), rotate(3, 0), shown(3, 2, nil))
	},
	"a rotation without grace leaves the old secret": func(s *script) {
		s.call(rotate(2, 0), shown(2, 2, nil))
		s.call(present(1), shown(2, 2, nil).by(1))
	},
	"the grace of a rotation ends too late": func(s *script) {
		s.call(rotate(2, 50), shown(2, 2, until(50)))
		s.at(50)
		s.call(present(1), shown(2, 2, nil).by(1))
	},
	"a rotation does not lower an older deadline": func(s *script) {
		s.call(rotate(2, 100), shown(2, 2, until(100)))
		s.call(rotate(3, 50), shown(3, 3, until(100)))
	},
	"a rotation moves an older deadline later": func(s *script) {
		s.call(rotate(2, 50), shown(2, 2, until(50)))
		s.call(rotate(3, 100), shown(3, 3, until(100)))
		s.at(60)
		s.call(present(1), shown(3, 3, until(100)).by(1))
	},
	"a sixth secret works": func(s *script) {
		for n := range 5 {
			s.call(rotate(n+2, 50), shown(uint64(n)+2, n+2, until(50)))
		}
	},
	"a returned token is dead on arrival": func(s *script) {
		s.call(rotate(2, 50), shown(2, 2, until(50)))
		s.call(present(2), refused("wrong_secret"))
	},
	"a superseded secret is forgotten at once": func(s *script) {
		s.call(rotate(2, 0), shown(2, 2, nil))
		s.call(present(1), refused("wrong_secret"))
	},
	"EndGrace leaves an older secret": func(s *script) {
		s.call(rotate(2, 50), shown(2, 2, until(50)))
		s.call(endGrace, shown(3, 2, nil))
		s.call(present(1), shown(3, 2, nil).by(1))
	},
	"an expired key is accepted": func(s *script) {
		s.call(expire(50), shown(2, 1, expiringAt(50)))
		s.at(50)
		s.call(present(1), shown(2, 1, expiringAt(50)).by(1))
	},
	"a key is refused before it expires": func(s *script) {
		s.call(expire(50), shown(2, 1, expiringAt(50)))
		s.at(49)
		s.call(present(1), refused("expired"))
	},
	"an expired key is rotated": func(s *script) {
		s.call(expire(50), shown(2, 1, expiringAt(50)))
		s.at(50)
		s.call(rotate(2, 0), shown(3, 2, expiringAt(50)))
	},
	"the reason hides that the key is revoked": func(s *script) {
		s.call(expire(50), shown(2, 1, expiringAt(50)))
		s.call(revoke(""), shown(3, 1, func(v *view) { expiringAt(50)(v); revokedAt(0, "")(v) }))
		s.at(60)
		s.call(present(1), refused("expired"))
	},
	"a deleted key is found again": func(s *script) {
		s.together(exists, ok, vanish, ok)
		s.call(get, shown(1, 1, nil))
	},
	"a deleted key is in a listing": func(s *script) {
		s.together(exists, ok, vanish, ok)
		s.call(call{op: opSeen}, shown(1, 1, nil))
	},
	"a key is missing in a listing": func(s *script) { s.call(call{op: opSeen}, absent) },
	"Delete says ok of a key that was deleted before": func(s *script) {
		s.together(exists, ok, vanish, ok)
		s.together(exists, ok, vanish, ok)
	},
	"a key is purged before its time": func(s *script) {
		s.call(expire(50), shown(2, 1, expiringAt(50)))
		s.at(50 + historyRules.retention - 1)
		s.call(purge, ok)
		s.call(get, absent)
	},
	"a key is not purged when it is time": func(s *script) {
		s.call(expire(50), shown(2, 1, expiringAt(50)))
		s.at(50 + historyRules.retention)
		s.call(purge, ok)
		s.call(get, shown(2, 1, expiringAt(50)))
	},
	"a key that was never generated is there": func(s *script) {
		s.ops = nil
		s.call(get, shown(1, 1, nil))
	},
	"a use is shown that no lookup made": func(s *script) {
		s.call(get, shown(1, 1, func(v *view) { v.lastUsed = start }))
	},
	"the time of last use goes back": func(s *script) {
		s.call(present(1), shown(1, 1, nil).by(1))
		s.call(get, shown(1, 1, func(v *view) { v.lastUsed = start }))
		s.call(get, shown(1, 1, nil))
	},
}

var rightHistories = map[string]func(*script){
	"an unknown update happened": func(s *script) {
		s.call(count, shown(2, 1, counted(1)).unclear())
		s.call(get, shown(2, 1, counted(1)))
	},
	"an unknown update did not happen": func(s *script) {
		s.call(count, shown(2, 1, counted(1)).unclear())
		s.call(count, shown(2, 1, counted(1)))
		s.call(get, shown(2, 1, counted(1)))
	},
	"an unknown update happened after a while": func(s *script) {
		s.call(count, shown(2, 1, counted(1)).unclear())
		s.call(get, shown(1, 1, nil))
		s.at(10)
		s.call(present(1), shown(1, 1, nil).by(1))
		s.call(count, shown(3, 1, counted(2)))
	},
	"an unknown revocation happened after a while": func(s *script) {
		s.call(revoke("leaked"), shown(2, 1, revokedAt(0, "leaked")).unclear())
		s.at(10)
		s.call(present(1), shown(1, 1, nil).by(1))
		s.call(present(1), refused("revoked"))
		s.call(revoke("again"), shown(2, 1, revokedAt(0, "leaked")))
	},
	"an unknown revocation did not happen": func(s *script) {
		s.call(revoke("leaked"), shown(2, 1, revokedAt(0, "leaked")).unclear())
		s.at(10)
		s.call(revoke("again"), shown(2, 1, revokedAt(10, "again")))
	},
	"an unknown rotation happened, and its token works": func(s *script) {
		s.call(rotate(2, 50), shown(2, 2, until(50)).unclear())
		s.call(present(2), shown(2, 2, until(50)).by(2))
		s.call(present(1), shown(2, 2, until(50)).by(1))
	},
	"an unknown rotation did not happen, and another made its generation": func(s *script) {
		s.call(rotate(2, 50), shown(2, 2, until(50)).unclear())
		s.call(rotate(3, 0), shown(2, 2, nil))
		s.call(present(2), refused("wrong_secret"))
		s.call(present(3), shown(2, 2, nil).by(2))
	},
	"an unknown Delete happened after a while": func(s *script) {
		s.call(vanish, lost)
		s.call(get, shown(1, 1, nil))
		s.call(get, absent)
	},
	"an unknown Delete did not happen": func(s *script) {
		s.call(vanish, lost)
		s.call(get, shown(1, 1, nil))
	},
	"an unknown Generate happened after a while": func(s *script) {
		s.ops = nil
		s.call(create, shown(1, 1, nil).unclear())
		s.call(present(1), refused("unknown_key"))
		s.call(present(1), shown(1, 1, nil).by(1))
	},
	"an unknown Generate did not happen": func(s *script) {
		s.ops = nil
		s.call(create, shown(1, 1, nil).unclear())
		s.call(get, absent)
	},
	"changes that overlap happen in either order": func(s *script) {
		s.together(count, shown(3, 2, counted(1)), rotate(2, 0), shown(2, 2, nil), get, shown(1, 1, nil), present(1), refused("superseded"))
	},
	"two Deletes that overlap both find the key": func(s *script) {
		s.together(exists, ok, vanish, ok, exists, ok, vanish, ok)
	},
	"an expired key is extended, and not purged": func(s *script) {
		s.call(expire(50), shown(2, 1, expiringAt(50)))
		s.at(60)
		s.call(clearTime, shown(3, 1, nil))
		s.at(1000)
		s.call(purge, ok)
		s.call(present(1), shown(3, 1, nil).by(1))
	},
	"a revoked key is purged when it is time": func(s *script) {
		s.call(revoke(""), shown(2, 1, revokedAt(0, "")))
		s.at(historyRules.retention)
		s.call(purge, ok)
		s.call(present(1), refused("unknown_key"))
	},
}
