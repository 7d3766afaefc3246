package httpauth

import (
	"net/url"
	"slices"
	"strings"
)

// isOpen reports whether the URL's path is one that Options.Open lists. These are
// clean and need no encoding; so a path equal to one of them hides nothing, as
// long as it was not decoded: RawPath is set where decoding and encoding again
// would not give what was sent.
func (a *Auth) isOpen(u *url.URL) bool {
	return len(a.opts.Open) > 0 && u.RawPath == "" && slices.Contains(a.opts.Open, u.Path)
}

// plainPath reports whether p consists of "/" and the unreserved characters of
// RFC 3986, section 2.3.
func plainPath(p string) bool {
	for _, c := range []byte(p) {
		if !isAlphanumeric(c) && !strings.ContainsRune("-._~/", rune(c)) {
			return false
		}
	}
	return true
}
