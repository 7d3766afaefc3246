package main

import (
	"fmt"
	"strings"
)

// A column is "heading: cell", and a cell is one of
//
//	{backend}           that part of the name; {backend?} is a dash where there is none
//	ours-ns/op          the median and its interval, of a ratio both ends
//	ours-ns/op bare     the median alone
//	ours-ns/op rate     how many of that time fit into a second
//	max-us most         the largest sample
//	ratio times         the median, as 1.08x
//	ratio inverse       one by it, as throughputs compare, and its interval
//	ratio <= 1.5        a goal, and whether it was reached
//
// or several of these, parted by " / ".
type column struct{ heading, cell string }

// table is a Markdown table with a row for each benchmark of the pattern.
// Optional ones that were not measured are left out.
func (p *page) table(pattern string, columns ...string) (string, error) {
	rows, err := expand(pattern)
	if err != nil {
		return "", err
	}
	var cols []column
	var headings []string
	for _, c := range columns {
		heading, cell, ok := strings.Cut(c, ": ")
		if !ok {
			return "", fmt.Errorf("%q is no column, as \"heading: unit\" is", c)
		}
		cols = append(cols, column{heading, cell})
		headings = append(headings, heading)
	}
	t := newTable(headings)
	for _, row := range rows {
		if row.optional && !p.has(row.name) {
			continue
		}
		var cells []string
		for _, c := range cols {
			text, err := p.cell(row.name, c.cell)
			if err != nil {
				return "", err
			}
			cells = append(cells, text)
		}
		t.add(cells)
	}
	return t.String(), nil
}

// grid is a Markdown table with a row for each value of one key and a column for
// each value of another, in the order in which the pattern has them. A dash is
// where it has no benchmark, or one that is optional and was not measured.
func (p *page) grid(rowKey, columnKey, cell, pattern string) (string, error) {
	rows, err := expand(pattern)
	if err != nil {
		return "", err
	}
	type place struct{ row, column string }
	cells := map[place]string{}
	var rowNames, columnNames []string
	for _, row := range rows {
		r, okRow := part(row.name, rowKey)
		c, okColumn := part(row.name, columnKey)
		if !okRow || !okColumn {
			return "", fmt.Errorf("%s has no %s or no %s", row.name, rowKey, columnKey)
		}
		at := place{r, c}
		if _, twice := cells[at]; twice {
			return "", fmt.Errorf("a second benchmark for %s=%s and %s=%s: %s", rowKey, r, columnKey, c, row.name)
		}
		cells[at] = "–"
		if !row.optional || p.has(row.name) {
			if cells[at], err = p.cell(row.name, cell); err != nil {
				return "", err
			}
		}
		rowNames, columnNames = appendNew(rowNames, r), appendNew(columnNames, c)
	}
	headings := []string{rowKey}
	for _, c := range columnNames {
		headings = append(headings, label(columnKey, c))
	}
	t := newTable(headings)
	for _, r := range rowNames {
		line := []string{label(rowKey, r)}
		for _, c := range columnNames {
			text, ok := cells[place{r, c}]
			if !ok {
				text = "–"
			}
			line = append(line, text)
		}
		t.add(line)
	}
	return t.String(), nil
}

// cell is one cell of a table about one benchmark.
func (p *page) cell(name, cell string) (string, error) {
	var texts []string
	for _, one := range strings.Split(cell, " / ") {
		text, err := p.oneOf(name, one)
		if err != nil {
			return "", err
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " / "), nil
}

func (p *page) oneOf(name, cell string) (string, error) {
	if key, ok := strings.CutPrefix(cell, "{"); ok {
		key, optional := strings.CutSuffix(strings.TrimSuffix(key, "}"), "?")
		value, ok := part(name, key)
		switch {
		case ok:
			return label(key, value), nil
		case optional:
			return "–", nil
		}
		return "", fmt.Errorf("%s has no part %s", name, key)
	}
	unit, how, _ := strings.Cut(cell, " ")
	f, ok := p.lookUp(name, unit, nil)
	switch how {
	case "":
		if isRatio(unit) {
			return f.between(), nil
		}
		return f.percent(), nil
	case "bare":
		return f.String(), nil
	case "rate":
		return f.rate().String(), nil
	case "most":
		return f.largest(), nil
	case "times":
		return f.times(), nil
	case "inverse":
		return f.inverse(f.unit).between(), nil
	}
	g, err := parseGoal(how)
	if err != nil || !ok {
		return "", err
	}
	g = g.in(unit)
	return fmt.Sprintf("%s, %s", g.String(f.unit), f.meets(g)), nil
}

// markdown is a table in the making.
type markdown struct {
	strings.Builder
	rows int
}

func newTable(headings []string) *markdown {
	t := &markdown{}
	t.line(headings)
	t.line(strings.Split(strings.Repeat("--- ", len(headings)-1)+"---", " "))
	return t
}

func (t *markdown) add(cells []string) {
	t.rows++
	t.line(cells)
}

func (t *markdown) line(cells []string) {
	fmt.Fprintf(t, "| %s |\n", strings.Join(cells, " | "))
}

// String has no newline at its end: that stands in the template.
func (t *markdown) String() string {
	if t.rows == 0 {
		return "Not measured."
	}
	return strings.TrimSuffix(t.Builder.String(), "\n")
}

func appendNew(list []string, word string) []string {
	for _, w := range list {
		if w == word {
			return list
		}
	}
	return append(list, word)
}
