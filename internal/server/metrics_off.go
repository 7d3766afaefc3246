//go:build !prometheus

package server

import (
	"context"
	"net"
	"net/http"
	"time"

	"example.com/keystore"
)

type metrics struct{}

func newMetrics(string, keystore.Observer) *metrics { return &metrics{} }
func (m *metrics) handler() http.Handler            { return http.NotFoundHandler() }
func (m *metrics) Begin(ctx context.Context, _ keystore.Operation) (context.Context, func(error)) {
	return ctx, func(error) {}
}
func (m *metrics) answered(string, string, int, time.Duration)     {}
func (m *metrics) connState(string) func(net.Conn, http.ConnState) { return nil }
func (m *metrics) watch(*keystore.Keystore)                        {}
