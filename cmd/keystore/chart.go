package main

import (
	"iter"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"example.com/keystore"
)

const (
	pipeWidth = 80 // columns, where no terminal says how many it has
	maxBar    = 60
)

// printUsageTable shows usage as a table with a total, and beside it a bar for each
// line where there is room.
func (a *app) printUsageTable(lines iter.Seq2[keystore.Usage, error], unit time.Duration) error {
	var all []keystore.Usage
	var total keystore.Usage
	for u, err := range lines {
		if err != nil {
			return err
		}
		all, total = append(all, u), total.Add(u)
	}
	head, layout := "DAY", "2006-01-02"
	if unit == time.Hour {
		head, layout = "HOUR", "2006-01-02T15:04Z"
	}
	rows := [][]string{{head, "ALLOWED", "LIMITED", "NO SCOPE", "COST"}}
	for _, u := range all {
		rows = append(rows, usageRow(u.Start.UTC().Format(layout), u))
	}
	rows = append(rows, usageRow("TOTAL", total))
	text := alignRight(rows)
	c := a.chart()
	if c.fit(utf8.RuneCountInString(text[0]), all) {
		text[0] += "  " + c.legend()
		for i, u := range all {
			text[i+1] = strings.TrimRight(text[i+1]+"  "+c.bar(u), " ")
		}
	}
	return a.write([]byte(strings.Join(text, "\n") + "\n"))
}

func usageRow(name string, u keystore.Usage) []string {
	return []string{name, decimal(u.Allowed), decimal(u.Limited), decimal(u.MissingScope), decimal(u.Cost)}
}

// alignRight returns each row as a line, in columns of which all but the first are
// numbers.
func alignRight(rows [][]string) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len(cell))
			if i == 0 {
				lines[n] = cell + pad
				continue
			}
			lines[n] += "  " + pad + cell
		}
	}
	return lines
}

// chart draws bars.
type chart struct {
	allowed, refused string // what a part of a bar is made of
	columns          int    // of a whole line
	width            int    // of the longest bar
	most             float64
}

// chart has blocks where the output is a terminal that shows them, and else ASCII.
func (a *app) chart() *chart {
	c := &chart{allowed: "#", refused: "-", columns: pipeWidth}
	if !isTerminal(a.out) {
		return c
	}
	if width, _, err := term.GetSize(int(a.out.(*os.File).Fd())); err == nil && width > 0 {
		c.columns = width
	}
	if a.showsUnicode() {
		c.allowed, c.refused = "█", "░"
	}
	return c
}

// showsUnicode reports whether the locale (POSIX, section 8.2) is one of UTF-8.
func (a *app) showsUnicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(a.getenv(name)); locale != "" {
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return runtime.GOOS == "windows"
}

// legend says what bars are made of. No chart is narrower.
func (c *chart) legend() string { return c.allowed + " allowed  " + c.refused + " refused" }

// fit scales the bars to what is left of the line, and reports whether there is
// room for them.
func (c *chart) fit(taken int, all []keystore.Usage) bool {
	for _, u := range all {
		c.most = max(c.most, lookups(u))
	}
	c.width = min(c.columns-taken-3, maxBar) // the last column stays free: some terminals would wrap
	return c.most > 0 && c.width >= utf8.RuneCountInString(c.legend())
}

// bar returns the bar of a line. What there is at all has a mark.
func (c *chart) bar(u keystore.Usage) string {
	all := lookups(u)
	if all == 0 {
		return ""
	}
	length := max(1, int(math.Round(all/c.most*float64(c.width))))
	refused := int(math.Round((all - float64(u.Allowed)) / all * float64(length)))
	if length > 1 {
		if u.Allowed > 0 {
			refused = min(refused, length-1)
		}
		if all > float64(u.Allowed) {
			refused = max(refused, 1)
		}
	}
	return strings.Repeat(c.allowed, length-refused) + strings.Repeat(c.refused, refused)
}

func lookups(u keystore.Usage) float64 {
	return float64(u.Allowed) + float64(u.Limited) + float64(u.MissingScope)
}
