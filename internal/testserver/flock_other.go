//go:build windows || plan9 || js || wasip1 || aix

package testserver

import "os"

// flock does nothing here.
func flock(*os.File) {}
