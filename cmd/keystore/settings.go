package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"example.com/keystore"
)

const (
	defaultPrefix  = "ks" // keystore's own
	defaultTimeout = 10 * time.Second
	maxSettingFile = 64 << 10 // bytes
)

// setting is the text of a setting, and where it comes from, for errors.
type setting struct{ text, from string }

// setting returns that of a flag or else of the environment. A variable that is
// empty counts as unset; a flag that is empty is more likely a script's mistake.
func (a *app) setting(flag, text, variable string) (setting, error) {
	if a.flags.Changed(flag) {
		if text == "" {
			return setting{}, usagef("--%s is empty", flag)
		}
		return setting{text, "--" + flag}, nil
	}
	return setting{a.getenv(variable), variable}, nil
}

// options are the Options of the keystore: what flags and environment say, and
// no background work.
func (a *app) options() (*keystore.Options, error) {
	prefix, err := a.prefix()
	if err != nil {
		return nil, err
	}
	hash, others, err := a.hashing()
	if err != nil {
		return nil, err
	}
	retention, err := duration(a, "retention", a.global.retention, "KEYSTORE_RETENTION", 0, parseRetention)
	if err != nil {
		return nil, err
	}
	timeout, err := duration(a, "timeout", a.global.timeout, "KEYSTORE_TIMEOUT", defaultTimeout, parsePositive)
	if err != nil {
		return nil, err
	}
	plans, err := a.plans()
	if err != nil {
		return nil, err
	}
	return &keystore.Options{
		Prefix:         prefix,
		AcceptPrefixes: a.acceptedPrefixes(),
		Hash:           hash,
		AcceptHash:     others,
		Retention:      retention,
		OpTimeout:      timeout,
		Plans:          plans,
		CacheSize:      -1,
		TouchInterval:  keystore.Never, // a look by an operator is no use of the key
		UsageInterval:  keystore.Never, // and on nobody's bill
		PurgeInterval:  keystore.Never,
		Logger:         a.logger(),
	}, nil
}

func (a *app) prefix() (string, error) {
	if a.flags.Changed("prefix") && a.flags.Changed("prefix-file") {
		return "", usagef("--prefix and --prefix-file exclude each other")
	}
	if a.flags.Changed("prefix-file") {
		text, err := readSetting("--prefix-file", a.global.prefixFile)
		if err == nil && text == "" {
			err = usagef("--prefix-file: the file is empty")
		}
		return text, err
	}
	s, err := a.setting("prefix", a.global.prefix, "KEYSTORE_PREFIX")
	if s.text == "" {
		return defaultPrefix, err
	}
	return s.text, err
}

func (a *app) acceptedPrefixes() []string {
	if a.flags.Changed("accept-prefix") {
		return a.global.acceptPrefixes
	}
	if list := a.getenv("KEYSTORE_ACCEPT_PREFIXES"); list != "" {
		prefixes := strings.Split(list, ",")
		for i := range prefixes {
			prefixes[i] = strings.TrimSpace(prefixes[i])
		}
		return prefixes
	}
	return nil
}

func (a *app) hashing() (current keystore.Hasher, others []keystore.Hasher, err error) {
	peppers, err := a.peppers()
	if err != nil {
		return nil, nil, err
	}
	s, err := a.setting("hash", a.global.hash, "KEYSTORE_HASH")
	if err != nil {
		return nil, nil, err
	}
	current, others, err = hashers(s.text, peppers)
	return current, others, s.wrong(err)
}

// peppers returns the hasher of the pepper ring, nil without one.
func (a *app) peppers() (keystore.Hasher, error) {
	s := setting{a.getenv("KEYSTORE_PEPPER"), "KEYSTORE_PEPPER"}
	switch {
	case a.flags.Changed("pepper-file"):
		text, err := readSetting("--pepper-file", a.global.pepperFile)
		if err != nil {
			return nil, err
		}
		s = setting{text, "--pepper-file"}
	case s.text == "":
		return nil, nil
	}
	peppers, err := parsePepper(s.text)
	return peppers, s.wrong(err)
}

func parseRetention(text string) (time.Duration, error) {
	if text == "never" {
		return keystore.Never, nil
	}
	return parsePositive(text)
}

func duration(a *app, flag, text, variable string, def time.Duration, parse func(string) (time.Duration, error)) (time.Duration, error) {
	s, err := a.setting(flag, text, variable)
	if err != nil || s.text == "" {
		return def, err
	}
	d, err := parse(s.text)
	return d, s.wrong(err)
}

// wrong names the setting that an error is about.
func (s setting) wrong(err error) error {
	if err == nil {
		return nil
	}
	return usagef("%s: %s", s.from, errorText(err))
}

// readSetting reads a file, without one newline at its end.
func readSetting(what, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fileError(what, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSettingFile+1))
	if err == nil && len(text) > maxSettingFile {
		err = errors.New("the file is longer than 64 KiB")
	}
	if err != nil {
		return "", fileError(what, err)
	}
	return cutNewline(string(text)), nil
}

// cutNewline cuts one newline from the end.
func cutNewline(text string) string {
	text, found := strings.CutSuffix(text, "\n")
	if found {
		text = strings.TrimSuffix(text, "\r")
	}
	return text
}
