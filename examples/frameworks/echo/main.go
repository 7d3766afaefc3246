// Echo protects a route of github.com/labstack/echo, whose WrapMiddleware takes
// Require as it is.
package main

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"example.com/keystore/examples/frameworks/internal/serve"
	"example.com/keystore/httpauth"
)

func main() { serve.Routes(routes) }

func routes(auth *httpauth.Auth) http.Handler {
	e := echo.New()
	e.GET("/hello", hello)
	e.GET("/orders/:id", order, echo.WrapMiddleware(auth.Require("orders:read")))
	return e
}

func hello(c echo.Context) error { return c.String(http.StatusOK, "hello") }

func order(c echo.Context) error {
	key, _ := httpauth.KeyFrom(c.Request().Context())
	return c.String(http.StatusOK, "order "+c.Param("id")+" of "+key.Owner)
}
