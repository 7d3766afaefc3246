// Report turns the results of the benchmarks into docs/performance.md and the
// charts that it shows.
//
//	go run ./cmd/report            # writes the page and the charts
//	go run ./cmd/report -check     # fails if they are not what the results give
//	go run ./cmd/report -unused    # also lists the results that the page does not use
//
// It is run in the folder benchmarks/. The prose is in performance.md.tmpl, which
// says with template functions where a table or a figure belongs (page.go). The
// same results give the same bytes.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
)

//go:embed performance.md.tmpl
var pageTemplate string

func main() {
	os.Exit(run(os.Args[1:], pageTemplate, os.Stderr))
}

// run is the command; it returns the exit status: 0, or 1 after a message, or 2
// for wrong arguments.
func run(args []string, tmpl string, messages io.Writer) int {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.SetOutput(messages)
	from := flags.String("results", "results", "folder of the results, read from *.txt")
	docs := flags.String("docs", "../docs", "folder of performance.md and charts/")
	check := flags.Bool("check", false, "write nothing, and fail if the page or a chart differs")
	unused := flags.Bool("unused", false, "list the results that the page does not use")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintln(messages, "report: there are no arguments, only flags")
		return 2
	}
	if err := report(*from, *docs, tmpl, *check, *unused, messages); err != nil {
		fmt.Fprintln(messages, "report:", err)
		return 1
	}
	return 0
}

func report(from, docs, tmpl string, check, unused bool, messages io.Writer) error {
	results, err := readResults(from)
	if err != nil {
		return err
	}
	files, err := build(results, tmpl)
	if err != nil {
		return err
	}
	if unused {
		for _, name := range results.unused() {
			fmt.Fprintln(messages, "not in the page:", name)
		}
	}
	if check {
		return compare(docs, files)
	}
	return write(docs, files)
}
