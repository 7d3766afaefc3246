package main

import (
	"testing"

	"go.uber.org/goleak"

	"example.com/keystore/examples/frameworks/internal/drive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRoutes(t *testing.T) { drive.Routes(t, routes) }
