package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// issuedView is a new token and its key as --json prints them.
type issuedView struct {
	Token string  `json:"token,omitempty"`
	Key   keyView `json:"key"`
}

// issue makes a token and shows it, this once, or writes it to a new file. The
// file is made first: what can fail should fail while there is no token to lose.
func (a *app) issue(file string, makeToken func() (keystore.Token, keystore.Key, error)) error {
	if out, ok := a.out.(*os.File); ok && file == "" && closed(out) {
		return failedf("standard output is closed, and the token would be lost: give --token-file")
	}
	var f *os.File
	if file != "" {
		var err error
		f, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return failedf("--token-file: the file exists; a token is written to a new one")
		}
		if err != nil {
			return fileError("--token-file", err)
		}
		defer f.Close()
	}
	token, key, err := makeToken()
	if token.IsZero() {
		if f != nil {
			_ = os.Remove(file)
		}
		return err
	}
	// err is nil, or says that the token may be live; either way it must be seen.
	if f != nil {
		return errors.Join(err, writeToken(f, token), a.printIssued("", key))
	}
	return errors.Join(err, lost(key.ID, a.printIssued(token.Reveal(), key)))
}

func (a *app) printIssued(token string, key keystore.Key) error {
	view := issuedView{Token: token, Key: keyview.Of(key, time.Now())}
	fields := keyFields(view.Key)
	if token != "" {
		fields = append([]field{{"token", token}}, fields...)
	}
	return a.print(view, fields)
}

func writeToken(f *os.File, token keystore.Token) error {
	_, err := fmt.Fprintln(f, token.Reveal())
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		return nil
	}
	return lost(token.ID(), fileError("--token-file", err))
}

// lost says that a token was made and could not be handed over.
func lost(id string, err error) error {
	if err == nil {
		return nil
	}
	return failedf("key %s has a new token, which is lost, for it could not be written: rotate or revoke the key; %s", id, errorText(err))
}
