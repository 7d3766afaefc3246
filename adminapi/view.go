package adminapi

import (
	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

type keyView = keyview.KeyView

// issuedKey is a key with its token, which is shown this once.
type issuedKey struct {
	Token string  `json:"token" doc:"Shown this once: it is not stored."`
	Key   keyView `json:"key"`
}

// view is a key by the keystore's clock.
func (c *call) view(k keystore.Key) keyView { return keyview.Of(k, c.ks.Now()) }

// keyAnswer answers with a key.
func (c *call) keyAnswer(k keystore.Key) answer {
	return answer{header: map[string]string{"ETag": etag(k)}, body: c.view(k)}
}

// tokenAnswer answers with a key and its new token.
func (c *call) tokenAnswer(token keystore.Token, k keystore.Key) answer {
	return answer{header: map[string]string{"ETag": etag(k)}, body: issuedKey{Token: token.Reveal(), Key: c.view(k)}}
}
