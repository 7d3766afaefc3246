package main

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"text/template"
)

// build makes the page and its charts: file names below docs/, and contents.
func build(r *results, tmpl string) (map[string][]byte, error) {
	p := &page{results: r, files: map[string][]byte{}}
	t, err := template.New("performance.md.tmpl").Funcs(p.functions()).Parse(tmpl)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, nil); err != nil {
		return nil, err
	}
	if len(p.missing) > 0 {
		return nil, errors.Join(p.missing...)
	}
	p.files["performance.md"] = text.Bytes()
	return p.files, nil
}

// page is what the template functions work on. They go on when a benchmark is
// missing, so that one run names all that are; then nothing is published.
type page struct {
	*results
	files   map[string][]byte
	missing []error
}

// functions are what the template has besides text/template's own. NAME is a
// benchmark without the word Benchmark, UNIT a unit as the results have it.
//
//	config KEY                     a configuration line; several values are parted by "; "
//	configs KEY                    the values, to range over
//	value NAME UNIT [FALLBACK]     the median: 12.2 us
//	spread NAME UNIT [FALLBACK]    with the interval: 12.2 us ± 3%
//	between NAME UNIT [FALLBACK]   with both ends: 12.2 us (11.9–12.6 us)
//	ratio NAME [FALLBACK]          between of the unit "ratio": 1.08 (1.05–1.12)
//	faster NAME [FALLBACK]         between of 1/ratio, as throughputs compare
//	rate NAME UNIT [FALLBACK]      how many of that time fit into a second: 41 000 /s
//	most NAME UNIT [FALLBACK]      the largest sample
//	sum PATTERN UNIT               of all samples of all benchmarks
//	met NAME UNIT GOAL [FALLBACK]  reached or missed, for "<= 1.5" or ">= 2.5" of that unit
//	samples NAME UNIT              how many there are
//	has PATTERN                    whether all of them were measured
//	table PATTERN COLUMN...        a row for each benchmark (table.go)
//	grid ROWKEY COLKEY CELL PATTERN   a table of two keys (table.go)
//	copied HEADING                 the Markdown table in the results whose first heading begins so
//	chart NAME ALT                 a chart (charts.go), as an image
//	keys NUMBER                    as tables write it: 10^4
//	list WORD...                   to range over
func (p *page) functions() template.FuncMap {
	return template.FuncMap{
		"config":  func(key string) string { return strings.Join(p.configValues(key), "; ") },
		"configs": p.configValues,
		"value":   p.writer(figure.String),
		"spread":  p.writer(figure.percent),
		"between": p.writer(figure.between),
		"ratio": func(name string, fallback ...string) string {
			return p.writer(figure.between)(name, "ratio", fallback...)
		},
		"faster": func(name string, fallback ...string) string {
			return p.writer(func(f figure) string { return f.inverse(f.unit).between() })(name, "ratio", fallback...)
		},
		"rate":    p.writer(func(f figure) string { return f.rate().String() }),
		"most":    p.writer(figure.largest),
		"sum":     p.sum,
		"met":     p.met,
		"samples": p.writer(func(f figure) string { return fmt.Sprint(f.n) }),
		"has":     p.hasAll,
		"table":   p.table,
		"grid":    p.grid,
		"copied":  p.copied,
		"chart":   p.chart,
		"keys":    func(number string) string { return label("keys", number) },
		"list":    func(words ...string) []string { return words },
	}
}

func (p *page) configValues(key string) []string {
	values := p.config[key]
	if len(values) == 0 {
		p.lacks(fmt.Errorf("no results have the configuration line %s", key))
	}
	return values
}

// writer makes the template function that writes a figure in that way.
func (p *page) writer(write func(figure) string) func(name, unit string, fallback ...string) string {
	return func(name, unit string, fallback ...string) string {
		f, ok := p.lookUp(name, unit, fallback)
		if !ok {
			return strings.Join(fallback, " ")
		}
		return write(f)
	}
}

// lookUp notes what is missing, unless there is a fallback for it. A benchmark that
// is there without that unit is a mistake of the template, fallback or not.
func (p *page) lookUp(name, unit string, fallback []string) (figure, bool) {
	if len(fallback) > 0 && !p.has(name) {
		return figure{}, false
	}
	f, err := p.figure(name, unit)
	if err != nil {
		p.lacks(err)
	}
	return f, err == nil
}

// lacks notes each error once.
func (p *page) lacks(err error) {
	same := func(other error) bool { return other.Error() == err.Error() }
	if !slices.ContainsFunc(p.missing, same) {
		p.missing = append(p.missing, err)
	}
}

func (p *page) met(name, unit, bound string, fallback ...string) (string, error) {
	g, err := parseGoal(bound)
	if err != nil {
		return "", err
	}
	return p.writer(func(f figure) string { return f.meets(g.in(unit)) })(name, unit, fallback...), nil
}

// sum adds up counts. Optional benchmarks that were not measured count nothing.
func (p *page) sum(pattern, unit string) (string, error) {
	rows, err := expand(pattern)
	if err != nil {
		return "", err
	}
	var total figure
	for _, row := range rows {
		if row.optional && !p.has(row.name) {
			continue
		}
		if f, ok := p.lookUp(row.name, unit, nil); ok {
			total = figure{median: total.median + f.sum, unit: f.unit}
		}
	}
	return total.String(), nil
}

func (p *page) hasAll(pattern string) (bool, error) {
	rows, err := expand(pattern)
	for _, row := range rows {
		if !p.has(row.name) {
			return false, err
		}
	}
	return err == nil, err
}

func (p *page) copied(heading string) string {
	for _, table := range p.tables {
		if strings.HasPrefix(table, "| "+heading) {
			return strings.TrimSpace(table)
		}
	}
	p.lacks(fmt.Errorf("no results have a table of %q", heading))
	return ""
}

// chart draws the chart and gives the image that shows it.
func (p *page) chart(name, alt string) (string, error) {
	draw := charts[name]
	if draw == nil {
		return "", fmt.Errorf("there is no chart %q", name)
	}
	file := path.Join("charts", name+".svg")
	c := draw(p)
	if len(p.missing) == 0 { // else nothing is published
		svg, err := c.svg()
		if err != nil {
			return "", fmt.Errorf("chart %s: %w", name, err)
		}
		p.files[file] = svg
	}
	return fmt.Sprintf("![%s](%s)", alt, file), nil
}
