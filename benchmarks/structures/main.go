// Command structures measures which structure the read cache should be made of:
// how long a lookup takes on one core and on all, what an entry costs in memory,
// and how many requests a full cache answers. It prints the tables in Markdown
// and, before them, each single measurement of time in the format of Go's
// benchmarks, for benchstat.
//
//	go run ./structures
//
// Times are medians over rounds, with the first and the last tenth in brackets. In
// each round every candidate has its turn, so that a slow moment of the machine
// meets all of them. With several cores a time is what passed for each call of all
// of them together: half of what one caller waits, where two call.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"
)

var (
	rounds  = flag.Int("rounds", 12, "measurements of each time")
	turn    = flag.Duration("turn", 200*time.Millisecond, "length of one measurement")
	sizes   = []int{10_000, 1_000_000}
	zipfs   = []float64{1.01, 1.05, 1.1, 1.2}
	hitSize = flag.Int("hitsize", 10_000, "capacity of the caches whose hit rate is measured")
)

func main() {
	flag.Parse()
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	fmt.Printf("goos: %s\ngoarch: %s\npkg: example.com/keystore/benchmarks/structures\n", runtime.GOOS, runtime.GOARCH)
	var tables strings.Builder
	for _, n := range sizes {
		timesTable(&tables, n, newKeys(r, n))
	}
	memoryTable(&tables, r)
	hitTable(&tables, r)
	fmt.Print("\n", tables.String())
}

// timesTable measures all candidates with n keys that are there, in caches with
// so much room that not even a shard with more than its share evicts.
func timesTable(w *strings.Builder, n int, keys []string) {
	cores := slices.Compact([]int{1, runtime.NumCPU()})
	caches := make([]cache, len(candidates))
	for i, c := range candidates {
		caches[i] = filled(c.make, 2*n, keys)
	}
	head := []string{fmt.Sprintf("ns a call, %d keys", n)}
	cells := make([][]string, len(candidates))
	for _, load := range workloads {
		for _, procs := range cores {
			took := make([][]float64, len(candidates))
			for range *rounds {
				for i, c := range candidates {
					ns := load.perCall(caches[i], keys, procs, *turn)
					took[i] = append(took[i], ns)
					fmt.Printf("Benchmark%s/%s/keys=%d-%d\t1\t%.2f ns/op\n", load.name, c.name, n, procs, ns)
				}
			}
			head = append(head, fmt.Sprintf("%s, cores: %d", load.name, procs))
			for i, all := range took {
				slices.Sort(all)
				cells[i] = append(cells[i], fmt.Sprintf("%.1f (%.1f-%.1f)", all[len(all)/2], all[len(all)/10], all[len(all)*9/10]))
			}
		}
	}
	row(w, head...)
	row(w, slices.Repeat([]string{"---"}, len(head))...)
	for i, c := range candidates {
		row(w, append([]string{c.name}, cells[i]...)...)
	}
	fmt.Fprintln(w)
}

// memoryTable fills the caches until they evict.
func memoryTable(w *strings.Builder, r *rand.Rand) {
	row(w, "bytes an entry, without key and value", fmt.Sprint(sizes[0]), fmt.Sprint(sizes[1]))
	row(w, "---", "---", "---")
	for _, c := range candidates {
		cells := []string{c.name}
		for _, n := range sizes {
			keys := newKeys(r, n*5/4)
			if !c.bounded {
				keys = keys[:n]
			}
			cells = append(cells, fmt.Sprintf("%.0f", perEntry(c.make, n, keys)))
		}
		row(w, cells...)
	}
	fmt.Fprintln(w)
}

func hitTable(w *strings.Builder, r *rand.Rand) {
	keys := newKeys(r, keysPerEntry**hitSize)
	head := []string{fmt.Sprintf("hits in %%, %d entries, %d keys", *hitSize, len(keys))}
	ideal := []string{"(the most frequent keys)"}
	for _, s := range zipfs {
		head = append(head, fmt.Sprintf("s=%g", s), fmt.Sprintf("s=%g, flood", s))
		hits := fmt.Sprintf("%.1f", 100*best(*hitSize, len(keys), s))
		ideal = append(ideal, hits, hits)
	}
	row(w, head...)
	row(w, slices.Repeat([]string{"---"}, len(head))...)
	for _, c := range candidates {
		if !c.bounded {
			continue
		}
		cells := []string{c.name}
		for _, s := range zipfs {
			cells = append(cells,
				fmt.Sprintf("%.1f", 100*hitRate(c.make(*hitSize), *hitSize, keys, s, nil)),
				fmt.Sprintf("%.1f", 100*hitRate(c.make(*hitSize), *hitSize, keys, s, onceKeys(r))))
		}
		row(w, cells...)
	}
	row(w, ideal...)
	fmt.Fprintln(w)
}

func row(w *strings.Builder, cells ...string) {
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}
