// Package socket serves a store to other processes of this machine, over a Unix
// socket that only its user may open: a server that holds a Badger folder lets the
// command-line tool in.
//
// The protocol is HTTP/1.1. POST /hello answers a [hello] as CBOR (RFC 8949); each
// method of [backend.Backend] but Close, and those of [backend.Counter] and
// [backend.Meter] where the store has them, is a POST below /v1/, with its arguments
// in the body and a [reply] as the answer. /v1/watch and /v1/backup answer a sequence
// of CBOR items that ends with the connection or says itself that it is complete.
//
// Who may open the socket may do what the methods do: read and change every record,
// and make keys valid. There is no other check than the mode of its file, 0600. The
// client in turn trusts a server of its own user, of root, or of the owner of the
// socket's folder alone; elsewhere than on Linux it does not check that, and the
// folder must be one where nobody else can make files.
package socket
