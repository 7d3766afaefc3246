//go:build !unix

package main

import "os"

// closed is not known here: writing to a stream that is closed fails by itself.
func closed(*os.File) bool { return false }
