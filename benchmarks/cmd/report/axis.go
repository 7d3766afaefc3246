package main

import (
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg/draw"
)

// numbers writes what another ticker marks as numbers of that unit.
type numbers struct {
	plot.Ticker
	unit string
}

func (n numbers) Ticks(lo, hi float64) []plot.Tick {
	all := n.Ticker.Ticks(lo, hi)
	for i := range all {
		all[i].Label = axisNumber(all[i].Value, n.unit)
	}
	return all
}

// steps are 3 to 7 round numbers from zero on.
type steps struct{}

func (steps) Ticks(_, hi float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10(hi)))
	for _, part := range []float64{0.2, 0.5, 1} {
		if hi/(step*part) < 7 {
			step *= part
			break
		}
	}
	var all []plot.Tick
	for i := 0.0; i*step <= hi; i++ {
		all = append(all, plot.Tick{Value: i * step})
	}
	return all
}

// powers are the powers of ten.
type powers struct{}

func (powers) Ticks(lo, hi float64) []plot.Tick {
	var all []plot.Tick
	for e := math.Round(math.Log10(lo)); e <= math.Round(math.Log10(hi)); e++ {
		all = append(all, plot.Tick{Value: math.Pow(10, e)})
	}
	return all
}

// axisNumber writes a number of an axis: "0", "2.5 us", "10 000", "1 million".
func axisNumber(v float64, unit string) string {
	if v == 0 {
		return "0"
	}
	if v >= 1e6 && unit == "keys" {
		return trimmed(digits(v/1e6)) + " million"
	}
	number, suffix := scaled(v, unit)
	if suffix == "/s" { // the axis' name says it
		suffix = ""
	}
	return strings.TrimSpace(trimmed(number) + " " + suffix)
}

// verticals draws a line at each number of the horizontal axis.
func verticals(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		c.StrokeLine2(draw.LineStyle{Color: rule, Width: 0.8}, x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
	}
}

// horizontals draws a line at each number of the vertical axis.
func horizontals(c draw.Canvas, p *plot.Plot) {
	_, y := p.Transforms(&c)
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		c.StrokeLine2(draw.LineStyle{Color: rule, Width: 0.8}, c.Min.X, y(t.Value), c.Max.X, y(t.Value))
	}
}
