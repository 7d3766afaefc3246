package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// room prints what the store takes on disk, and the process in memory. Of the
// latter, pages of mapped files can be given back and count apart.
func room(when, folder string) {
	var onDisk, apparent int64
	_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			apparent += info.Size()
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				onDisk += s.Blocks * 512
			}
		}
		return nil
	})
	status, _ := os.ReadFile("/proc/self/status")
	var memory []string
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "RssAnon") || strings.HasPrefix(line, "RssFile") {
			memory = append(memory, strings.Join(strings.Fields(line), " "))
		}
	}
	fmt.Printf("  room %s: %d MB on disk (%d MB apparent); %s\n", when, onDisk>>20, apparent>>20, strings.Join(memory, ", "))
}
