package mongo

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	defaultDatabase   = "keystore"
	defaultCollection = "keys"
)

// location is what a URL says.
type location struct {
	database, collection string
	linearizable         bool
	rest                 string   // for the client library: without our parameters
	kept                 []string // the parameters in rest
}

// kind says what becomes of a parameter of a connection string.
type kind int

const (
	unknown  kind = iota
	passed        // to the client library
	agreeing      // passed too, but only if it does not weaken what this package promises
)

// parameters are those that the client library knows and that make sense here,
// by their names in lower case. With those of kind agreeing is the only value.
var parameters = map[string]struct {
	kind  kind
	value string
}{
	"appname": {kind: passed},

	"authmechanism":           {kind: passed},
	"authmechanismproperties": {kind: passed},
	"authsource":              {kind: passed},

	"compressors":          {kind: passed},
	"zlibcompressionlevel": {kind: passed},
	"zstdcompressionlevel": {kind: passed},

	"connect":          {kind: passed},
	"directconnection": {kind: passed},
	"loadbalanced":     {kind: passed},
	"replicaset":       {kind: passed},
	"srvmaxhosts":      {kind: passed},
	"srvservicename":   {kind: passed},

	"connecttimeoutms":         {kind: passed},
	"heartbeatfrequencyms":     {kind: passed},
	"localthresholdms":         {kind: passed},
	"serverselectiontimeoutms": {kind: passed},
	"servermonitoringmode":     {kind: passed},
	"timeoutms":                {kind: passed},

	"maxconnecting": {kind: passed},
	"maxidletimems": {kind: passed},
	"maxpoolsize":   {kind: passed},
	"minpoolsize":   {kind: passed},

	"enableoverloadretargeting": {kind: passed},
	"maxadaptiveretries":        {kind: passed},
	"retryreads":                {kind: passed},
	"retrywrites":               {kind: passed}, // without effect, see clientOptions

	"ssl":                                  {kind: passed},
	"tls":                                  {kind: passed},
	"tlscafile":                            {kind: passed},
	"tlscertificatefile":                   {kind: passed},
	"tlscertificatekeyfile":                {kind: passed},
	"tlscertificatekeyfilepassword":        {kind: passed},
	"tlsdisablecertificaterevocationcheck": {kind: passed},
	"tlsdisableocspendpointcheck":          {kind: passed},
	"tlsinsecure":                          {kind: passed},
	"tlsprivatekeyfile":                    {kind: passed},

	"journal":          {agreeing, "true"},
	"readconcernlevel": {agreeing, "majority"},
	"readpreference":   {agreeing, "primary"},
	"w":                {agreeing, "majority"},
}

// parseURL takes rawURL apart. Its errors hold no part of it but names of
// parameters that are known here.
//
// The URL may name several hosts, so it is none that net/url can parse. It is cut
// as the client library cuts it: what stands before the first @ is the user, and
// the query begins at the first question mark behind the hosts.
func parseURL(rawURL string) (location, error) {
	scheme, rest, found := strings.Cut(rawURL, "://")
	if scheme = strings.ToLower(scheme); !found || scheme != "mongodb" && scheme != "mongodb+srv" {
		return location{}, errors.New("the scheme is neither mongodb:// nor mongodb+srv://")
	}
	if !utf8.ValidString(rest) || strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return location{}, errors.New("there are control characters, blanks or broken UTF-8 in the URL; they must be percent-encoded")
	}
	if strings.Contains(rest, "#") {
		return location{}, errors.New("a fragment (#) is of no use; a # in a user, password or value is written %23")
	}
	user, hosts, found := strings.Cut(rest, "@")
	if !found {
		user, hosts = "", rest
	} else {
		user += "@"
	}
	hosts, query, _ := strings.Cut(hosts, "?")
	hosts, path, _ := strings.Cut(hosts, "/")
	if hosts == "" {
		return location{}, errors.New("the URL names no host")
	}
	at := location{database: defaultDatabase, collection: defaultCollection}
	if err := at.parseQuery(query); err != nil {
		return location{}, err
	}
	if path != "" {
		var err error
		if at.database, err = url.QueryUnescape(path); err != nil {
			return location{}, errors.New("the name of the database cannot be decoded")
		}
	}
	if err := checkNames(at.database, at.collection); err != nil {
		return location{}, err
	}
	at.rest = scheme + "://" + user + hosts + "/" + path
	if len(at.kept) > 0 {
		at.rest += "?" + strings.Join(at.kept, "&")
	}
	return at, nil
}

// parseQuery takes our parameters out of the query and keeps the others as they
// are written.
func (at *location) parseQuery(query string) error {
	seen := make(map[string]bool)
	for _, pair := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		rawName, rawValue, found := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || !found {
			return errors.New("a parameter is not of the form name=value, or cannot be decoded")
		}
		name = strings.ToLower(name)
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return errors.New("the value of a parameter cannot be decoded")
		}
		known := parameters[name]
		switch {
		case seen[name]:
			return errors.New("a parameter is given more than once")
		case name == "collection":
			at.collection = value
		case name == "linearizable":
			if value != "0" && value != "1" {
				return errors.New("linearizable must be 0 or 1")
			}
			at.linearizable = value == "1"
		case known.kind == passed, known.kind == agreeing && value == known.value:
			at.kept = append(at.kept, pair)
		case known.kind == agreeing:
			return fmt.Errorf("%s can only be %s, which it is without being said", name, known.value)
		default:
			return errors.New("a parameter is unknown, or would weaken what a store promises; ours are collection and linearizable, " +
				"and the client library's are in docs/mongo.md")
		}
		seen[name] = true
	}
	return nil
}

// checkNames accepts what the server would, without names that have a meaning to
// it. Nothing in "local" is replicated.
func checkNames(database, collection string) error {
	const allowed = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-"
	switch {
	case database == "" || len(database) > 63 || !utf8.ValidString(database) || strings.ContainsAny(database, "/\\. \"$*<>:|?\x00"):
		return errors.New("the name of the database must have 1 to 63 bytes, none of them one of /\\. \"$*<>:|? or NUL")
	case slices.Contains([]string{"admin", "config", "local"}, strings.ToLower(database)):
		return errors.New("the database is one of the server's own: admin, config, local")
	case collection == "" || len(collection) > 64 || strings.Trim(collection, allowed) != "":
		return errors.New("the name of the collection must be 1 to 64 of [0-9A-Za-z._-]")
	case strings.HasPrefix(collection, ".") || strings.HasSuffix(collection, ".") || strings.HasPrefix(collection, "system."):
		return errors.New("the name of the collection begins or ends with a dot, or begins with \"system.\"")
	case besideKeys(collection):
		return errors.New("the name of the collection ends in .counts or .usage, as those beside another store do")
	}
	return nil
}

// clientOptions are those of the client library for what is left of the URL. For
// mongodb+srv:// it asks the DNS, which may take long.
//
// Without RetryWrites the library does not repeat commands of ours either, which
// it does after an error that says of overload, be it a writeConcernError.
func (at location) clientOptions() (*options.ClientOptions, error) {
	o := options.Client().SetAppName("keystore").
		SetTimeout(defaultTimeout).
		SetServerSelectionTimeout(selectionTimeout).
		SetConnectTimeout(connectTimeout).
		ApplyURI(at.rest).
		SetRetryWrites(false)
	return o, o.Validate()
}
