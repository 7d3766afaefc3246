package testserver

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answering is an nginx.conf whose server answers with a text.
func answering(addr, text string) map[string]string {
	return map[string]string{"nginx.conf": fmt.Sprintf(`
		daemon off;
		pid nginx.pid;
		error_log stderr;
		events {}
		http {
			access_log off;
			client_body_temp_path body;
			proxy_temp_path proxy;
			fastcgi_temp_path fastcgi;
			uwsgi_temp_path uwsgi;
			scgi_temp_path scgi;
			server { listen %s; return 200 %q; }
		}`, addr, text)}
}

func TestNginx(t *testing.T) {
	addr := FreeAddr(t)
	n := StartNginx(t, addr, answering(addr, "first"))
	assert.Equal(t, "first", get(t, n.URL()))
	n.Reload(answering(addr, "second"))
	await(t, "the new configuration is in force", func() error {
		if text := get(t, n.URL()); text != "second" {
			return fmt.Errorf("the answer is %q", text)
		}
		return nil
	})
	for _, end := range []func(){n.Stop, n.Kill} {
		end()
		require.Error(t, dial(addr), "it is gone, its workers too")
		n.Start()
		assert.Equal(t, "second", get(t, n.URL()))
	}
	assert.NotContains(t, n.Log(), "[emerg]")
}

func TestCaddy(t *testing.T) {
	addr, admin := FreeAddr(t), FreeAddr(t)
	file := func(text string) string {
		return fmt.Sprintf("{\n\tadmin %s\n}\nhttp://%s {\n\trespond %q\n}\n", admin, addr, text)
	}
	c := StartCaddy(t, addr, admin, file("first"))
	assert.Equal(t, "first", get(t, c.URL()))
	c.Reload(file("second"))
	assert.Equal(t, "second", get(t, c.URL()))
	for _, end := range []func(){c.Stop, c.Kill} {
		end()
		require.Error(t, dial(addr), "it is gone")
		c.Start()
		assert.Equal(t, "second", get(t, c.URL()))
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return strings.TrimSpace(string(body))
}
