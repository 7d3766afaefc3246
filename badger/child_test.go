package badger_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

const (
	roleVariable   = "KEYSTORE_TEST_BADGER_ROLE"
	folderVariable = "KEYSTORE_TEST_BADGER_FOLDER"
)

// roles are what a child process can do with a folder.
var roles = map[string]func(dir string) error{
	"hold":  hold,
	"write": writeForEver,
	"spend": spendForEver,
}

// childLife bounds a child that its parent failed to kill.
const childLife = time.Minute

// hold keeps the folder open and says so.
func hold(dir string) error {
	_, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	fmt.Println("open")
	time.Sleep(childLife)
	return nil
}

// writeForEver prints "id revision" after every change that was acknowledged.
func writeForEver(dir string) error {
	b, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), childLife)
	defer cancel()
	failed := make(chan error)
	for worker := range 4 {
		go func() {
			for n := 0; ; n++ {
				r := backend.Record{ID: fmt.Sprintf("%d-%d-%d", os.Getpid(), worker, n), Owner: "owner", Data: []byte("1")}
				if err := b.Create(ctx, r); err != nil {
					failed <- err
					return
				}
				fmt.Println(r.ID, 1)
				r.Revision, r.Data, r.PurgeAt = 1, []byte("2"), time.UnixMilli(1)
				if err := b.Update(ctx, r); err != nil {
					failed <- err
					return
				}
				fmt.Println(r.ID, 2)
			}
		}()
	}
	return <-failed
}

// child is a process of this test binary.
type child struct {
	cmd    *exec.Cmd
	output *bufio.Scanner
}

// startChild starts a child and kills it when the test ends.
func startChild(t *testing.T, role, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, folderVariable+"="+dir)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	c := &child{cmd, bufio.NewScanner(output)}
	t.Cleanup(c.kill)
	return c
}

// kill ends the child with SIGKILL, and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
