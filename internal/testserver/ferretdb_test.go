package testserver

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func mongoCollection(t *testing.T, url string) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(url).SetServerSelectionTimeout(10 * time.Second))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Disconnect(context.Background())) })
	return client.Database("testserver").Collection(t.Name())
}

func insertOne(c *mongo.Collection, id string) error {
	_, err := c.InsertOne(context.Background(), bson.D{{Key: "_id", Value: id}})
	return err
}

func TestMongoURLIsOneServer(t *testing.T) {
	url := MongoURL(t)
	t.Run("another test", func(t *testing.T) { assert.Equal(t, url, MongoURL(t)) })
	c := mongoCollection(t, url)
	t.Cleanup(func() { assert.NoError(t, c.Drop(context.Background())) })
	require.NoError(t, insertOne(c, "a"))
	assert.True(t, mongo.IsDuplicateKeyError(insertOne(c, "a")))
}

func TestMongoURLOfTheUser(t *testing.T) {
	t.Setenv("KEYSTORE_TEST_MONGODB_URL", "mongodb://db.example/")
	assert.Equal(t, "mongodb://db.example/", MongoURL(t))
}

func TestFerretDBKeepsAddressAndData(t *testing.T) {
	f := StartFerretDB(t)
	for round, end := range []func(){f.Stop, f.Kill} {
		id := string(rune('a' + round))
		require.NoError(t, insertOne(mongoCollection(t, f.URL()), id))
		end()
		_, err := net.Dial("tcp", f.Addr())
		require.Error(t, err, "it has ended")
		f.Start()
		n, err := mongoCollection(t, f.URL()).CountDocuments(context.Background(), bson.D{})
		require.NoError(t, err, "the same address")
		assert.EqualValues(t, round+1, n, "the same data")
	}
}

func TestFerretDBPauses(t *testing.T) {
	f := StartFerretDB(t)
	c := mongoCollection(t, f.URL())
	require.NoError(t, insertOne(c, "a"))
	f.Pause()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, c.FindOne(ctx, bson.D{}).Err(), context.DeadlineExceeded)
	f.Resume()
	require.NoError(t, c.FindOne(context.Background(), bson.D{}).Err())

	f.Pause()
	f.Stop() // also when it is paused
}

// The program ends when the process that started it has, however that ended: its
// standard input is then at its end. It leaves nothing behind.
func TestFerretDBEndsWithItsParent(t *testing.T) {
	temporary := t.TempDir()
	cmd := exec.Command(ferretDBProgram(t))
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, insertOne(mongoCollection(t, mongoURL(strings.TrimSpace(line))), "a"))
	require.NotEmpty(t, folder(t, temporary), "where its data is")

	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
	require.Empty(t, folder(t, temporary))
}

func folder(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return entries
}

func TestFerretDBIsBuiltApart(t *testing.T) {
	got := withoutGoSettings([]string{"GOFLAGS=-race", "GODEBUG=fips140=only", "HOME=/h", "GOCACHE=/c", "GOWORK=/w"})
	assert.Equal(t, "HOME=/h GOCACHE=/c", strings.Join(got, " "))
	dir, err := ferretDBModule()
	require.NoError(t, err)
	assert.FileExists(t, dir+"/go.mod")
}
