package mongo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

// FuzzParseURL compares with the client library's own parser: what is accepted
// means the same to it with and without our parameters, which it does not know;
// what is refused shows in no error.
func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"host", "host/", "host:27017/db", "a,b:1,[::1]:2/db?replicaSet=rs0", "user:p%40ss@host/db?authSource=admin", "user@host", "us?er:p?ss@host/?tls=true",
		"host/?collection=k&linearizable=1", "host/db?w=majority;collection=a.b", "host?collection=k", "%2Ftmp%2Fsock/db", "host/a%20b", "host/a+b", "host/?a=b@c",
		"host/?appName=%26collection%3Dx", "host/?Collection=k&COLLECTION=l", "host/?=&&;", "host/?w=1", "host/#x", "", "/", "@", ":@h", "a@b@c", "host/db/x?x", "h/?linearizable=2",
		"h/?%63ollection=%6b", "h/?readPreferenceTags=a:b", "h/?directConnection=true&loadBalanced=true", "h:0", "h/\x00", "h/?collection=\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		at, err := parseURL("mongodb://" + rest)
		if err != nil {
			const secret = "hunter2hunter2" // long enough not to stand in an error by chance
			if _, err := parseURL("mongodb://" + rest + secret); err != nil {
				require.NotContains(t, err.Error(), secret)
			}
			return
		}
		require.NoError(t, checkNames(at.database, at.collection))
		without, err := connstring.ParseAndValidate(at.rest)
		if err != nil {
			require.Error(t, options.Client().ApplyURI(at.rest).Validate())
			return
		}
		with, err := connstring.ParseAndValidate("mongodb://" + rest)
		if err != nil {
			require.ErrorContains(t, err, "must have a / before the query", "the one thing that is forgiven")
			return
		}
		for name := range with.UnknownOptions {
			require.Contains(t, []string{"collection", "linearizable"}, name)
		}
		require.Empty(t, without.UnknownOptions)
		require.Equal(t, with.Hosts, without.Hosts)
		require.Equal(t, with.Username, without.Username)
		require.Equal(t, with.Password, without.Password)
		require.Equal(t, with.Database, without.Database)
		if with.Database == "" {
			with.Database = defaultDatabase
		}
		require.Equal(t, with.Database, at.database)
		ours := 0
		for name, values := range with.Options {
			require.Len(t, values, 1, "none is given twice")
			if _, unknown := with.UnknownOptions[name]; unknown {
				ours++
				continue
			}
			require.Equal(t, values, without.Options[name])
		}
		require.Len(t, with.Options, len(without.Options)+ours)
		if c := with.UnknownOptions["collection"]; c != nil {
			require.Equal(t, c[0], at.collection)
		}
	})
}

// The list of parameters goes with the client library's own.
func TestParametersAreKnown(t *testing.T) {
	for name, p := range parameters {
		require.Equal(t, strings.ToLower(name), name)
		if p.kind == passed {
			p.value = "1"
		}
		url := "mongodb://host/?" + name + "=" + p.value
		_, err := parseURL(url)
		require.NoError(t, err, name)
		if parsed, err := connstring.Parse(url); err == nil { // else it knows the name, and wants another value
			assert.Empty(t, parsed.UnknownOptions)
		}
	}
}
