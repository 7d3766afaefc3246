package badger_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/badger"
)

func TestOptionsHideTheKey(t *testing.T) {
	key := []byte("0123456789abcdef")
	o := badger.Options{EncryptionKey: key, Namespace: "visible/", Logger: slog.New(slog.DiscardHandler)}
	forms := []string{string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), "48 49 50 51", "0x30, 0x31"}
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v", "%10.3v"} {
		shown[verb] = fmt.Sprintf(verb, o)
		shown["pointer "+verb] = fmt.Sprintf(verb, &o)
		shown["inside "+verb] = fmt.Sprintf(verb, struct{ O badger.Options }{o})
	}
	for _, handler := range []func(*bytes.Buffer) slog.Handler{
		func(w *bytes.Buffer) slog.Handler { return slog.NewTextHandler(w, nil) },
		func(w *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		var w bytes.Buffer
		slog.New(handler(&w)).Info("m", "o", o, "pointer", &o)
		shown[fmt.Sprintf("%T", handler(&w))] = w.String()
	}
	text, err := json.Marshal(map[string]any{"o": o, "pointer": &o})
	require.NoError(t, err)
	shown["json"] = string(text)
	for how, text := range shown {
		for _, form := range forms {
			assert.NotContains(t, text, form, how)
		}
	}
	for _, how := range []string{"%v", "pointer %+v", "json"} {
		assert.Contains(t, shown[how], "visible/", how)
		assert.Contains(t, shown[how], "hidden", how)
	}
	assert.Contains(t, fmt.Sprint(badger.Options{}), "none")
}

// Warnings of Badger's reach the logger, its talk does not.
func TestLogger(t *testing.T) {
	var log bytes.Buffer
	o := badger.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	b := open(t, t.TempDir(), &o)
	upstream := badger.Database(b).Opts().Logger
	assert.Empty(t, log.String(), "opening is nothing to warn of")
	upstream.Infof("info %d", 1)
	upstream.Debugf("debug %d", 2)
	upstream.Warningf("warning %d\n", 3)
	upstream.Errorf("error %d\n", 4)
	assert.Regexp(t, `(?s)^[^\n]*level=WARN msg="warning 3" package=badger\n[^\n]*level=ERROR msg="error 4" package=badger\n$`, log.String())
}

func TestNewWarnsOfUnsyncedDatabase(t *testing.T) {
	for sync, warned := range map[bool]bool{true: false, false: true} {
		var log bytes.Buffer
		db := newDB(t, badgerdb.DefaultOptions(t.TempDir()).WithSyncWrites(sync).WithValueLogFileSize(1<<20))
		handleOn(t, db, &badger.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		assert.Equal(t, warned, log.Len() > 0, log.String())
	}
}

const (
	waitLimit = 30 * time.Second
	waitTick  = 10 * time.Millisecond
)
