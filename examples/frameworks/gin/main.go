// Gin protects a route of github.com/gin-gonic/gin, with an adapter of a few
// lines.
package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"example.com/keystore/examples/frameworks/internal/serve"
	"example.com/keystore/httpauth"
)

func main() { serve.Routes(routes) }

func routes(auth *httpauth.Auth) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/hello", hello)
	engine.GET("/orders/:id", require(auth, "orders:read"), order)
	return engine
}

// require is auth.Require for gin: the rest of the chain runs as its handler, or
// not at all.
func require(auth *httpauth.Auth, scopes ...string) gin.HandlerFunc {
	middleware := auth.Require(scopes...)
	return func(c *gin.Context) {
		refused := true
		middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			refused = false
			c.Request = r // its context holds the key
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if refused {
			c.Abort()
		}
	}
}

func hello(c *gin.Context) { c.String(http.StatusOK, "hello") }

func order(c *gin.Context) {
	key, _ := httpauth.KeyFrom(c.Request.Context())
	c.String(http.StatusOK, "order %s of %s", c.Param("id"), key.Owner)
}
