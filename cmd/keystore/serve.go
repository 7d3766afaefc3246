package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/server"
)

func (a *app) serve() *cobra.Command {
	cmd := a.command("serve", "Serve the store over HTTP",
		`Serves the store over HTTP until SIGTERM or Ctrl-C: /verify tells nginx, Caddy,
Traefik or Envoy whether a request may pass, the API under /v1 manages keys, and
/healthz, /readyz and /metrics are for those who run it. docs/serve.md tells more.

The first key for the API is made by 'keystore generate --admin'. Without TLS it
listens on this machine alone, unless --insecure is given. Every flag with a value
has a variable of the environment beside it: KEYSTORE_LISTEN for --listen, and so on.`,
		`  keystore serve --tls-self-signed
  keystore serve --listen :8443 --tls-cert cert.pem --tls-key key.pem
  keystore serve --listen 127.0.0.1:8080 --trusted-proxy 127.0.0.1/32`,
		noArguments, func(cmd *cobra.Command, _ []string) error { return a.serveStore(cmd) })
	addServeFlags(cmd.Flags())
	return cmd
}

// serveStore serves the store until the context ends.
func (a *app) serveStore(cmd *cobra.Command) error {
	rawURL, err := a.storeURL(mustExist)
	if err != nil {
		return err
	}
	settings, err := a.served(cmd, rawURL)
	if err != nil {
		return err
	}
	log := settings.options.Logger
	b, err := openServed(cmd.Context(), rawURL, log)
	if err != nil {
		return openError(err)
	}
	defer closing(log, "the store", b.Close)
	trail, err := a.openTrail(a.out)
	if err != nil {
		return err
	}
	defer closing(log, "the audit log", trail.Close)
	settings.options.Audit = trail.Auditor
	return server.Run(cmd.Context(), b, settings.options, settings.server)
}

// openServed opens the store itself, never through another server.
func openServed(ctx context.Context, rawURL string, logger *slog.Logger) (backend.Backend, error) {
	b, err := backend.Open(ctx, rawURL, &backend.OpenOptions{Logger: logger})
	switch {
	case errors.Is(err, backend.ErrInvalidURL):
		return nil, fmt.Errorf("%w URL: %w", keystore.ErrInvalid, err)
	case err != nil:
		return nil, fmt.Errorf("%w: open: %w", keystore.ErrUnavailable, err)
	}
	return b, nil
}
