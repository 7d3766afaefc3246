//go:build !linux

package main

// room is measured on Linux only.
func room(string, string) {}
