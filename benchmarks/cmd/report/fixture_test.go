package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// made is a folder of made-up results for all that the page names: testdata/full.txt
// has one line for each benchmark, and each becomes so many samples around it.
func made(t *testing.T, samples int) string {
	t.Helper()
	return madeFrom(t, samples, func(int) float64 { return 1 })
}

// madeFrom is made with the figures of each line multiplied.
func madeFrom(t *testing.T, samples int, factor func(line int) float64) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "full.txt"))
	require.NoError(t, err)
	var out strings.Builder
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for line := 0; lines.Scan(); line++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			fmt.Fprintln(&out, lines.Text())
			continue
		}
		for i := range samples {
			fmt.Fprint(&out, fields[0], " ", fields[1])
			for j := 2; j+1 < len(fields); j += 2 {
				v, err := strconv.ParseFloat(fields[j], 64)
				require.NoError(t, err, lines.Text())
				v *= factor(line) * (1 + 0.004*float64(i*7%samples-samples/2)) // out of order
				fmt.Fprintf(&out, " %.6g %s", v, fields[j+1])
			}
			fmt.Fprintln(&out)
		}
	}
	return folder(t, "full.txt", out.String())
}
