// Package mongo keeps keys in a collection of MongoDB, or of a server that speaks
// its protocol.
package mongo
