package main

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// bar is one figure of a group, in the colour of its series. The note stands
// behind the figure.
type bar struct {
	series int
	figure figure
	note   string
}

// group is what stands beside one name.
type group struct {
	name string
	bars []bar
}

const (
	barHeight = 15
	groupGap  = 13
	axisRoom  = 40 // below the bars: numbers and the axis' name
)

// barChart draws groups of bars, from the top down, that start at zero.
func barChart(title, axis string, series []series, groups []group) *drawing {
	d := groupChart(title, axis, series, groups)
	d.plot.X.Min = 0
	d.plot.X.Max *= 1.2 // room for the last label
	d.plot.X.Tick.Marker = numbers{steps{}, unitOf(groups)}
	d.marks = func(c draw.Canvas, p *plot.Plot) {
		verticals(c, p)
		eachBar(c, p, groups, func(y vg.Length, b bar) {
			x, _ := p.Transforms(&c)
			from, to := x(0), x(b.figure.median)
			c.FillPolygon(series[b.series].color, rectangle(from, y-barHeight/2+1, to-from, barHeight-2))
			whisker(c, p, y, b.figure)
		})
	}
	return d
}

// dotChart draws groups of dots on a logarithmic axis, for figures that are
// orders of magnitude apart. A bar would have no zero to start from.
func dotChart(title, axis string, series []series, groups []group) *drawing {
	d := groupChart(title, axis, series, groups)
	d.plot.X.Scale = plot.LogScale{}
	d.plot.X.Min = math.Pow(10, math.Floor(math.Log10(d.plot.X.Min)))
	d.plot.X.Max = math.Pow(10, math.Ceil(math.Log10(d.plot.X.Max*1.5)))
	d.plot.X.Tick.Marker = numbers{powers{}, unitOf(groups)}
	d.marks = func(c draw.Canvas, p *plot.Plot) {
		verticals(c, p)
		eachBar(c, p, groups, func(y vg.Length, b bar) {
			x, _ := p.Transforms(&c)
			at, s := x(b.figure.median), series[b.series]
			c.StrokeLine2(draw.LineStyle{Color: s.color, Width: 1.5}, c.Min.X, y, at, y)
			whisker(c, p, y, b.figure)
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: s.color, Radius: 5, Shape: draw.CircleGlyph{}}, vg.Point{X: at, Y: y})
		})
	}
	return d
}

// groupChart is what both have in common: names at the left, one line a bar. The
// vertical axis counts points from the top, downwards.
func groupChart(title, axis string, series []series, groups []group) *drawing {
	p := newPlot()
	p.X.Min, p.X.Max = math.Inf(1), math.Inf(-1)
	var names []plot.Tick
	var y float64
	for _, g := range groups {
		height := float64(barHeight * len(g.bars))
		names = append(names, plot.Tick{Value: -(y + height/2), Label: g.name})
		y += height + groupGap
		for _, b := range g.bars {
			p.X.Min = min(p.X.Min, b.figure.median)
			p.X.Max = max(p.X.Max, b.figure.median, upper(b.figure))
		}
	}
	p.Y.Min, p.Y.Max = -y+groupGap/2, groupGap/2
	p.Y.Tick.Marker = plot.ConstantTicks(names)
	return &drawing{title: title, axis: axis, series: series, height: vg.Length(y) + axisRoom, plot: p}
}

// eachBar calls mark with the middle of each bar, and writes the figure beside it.
func eachBar(c draw.Canvas, p *plot.Plot, groups []group, mark func(y vg.Length, b bar)) {
	x, yOf := p.Transforms(&c)
	label := style(textSize, ink, draw.XLeft, draw.YCenter)
	var top float64
	for _, g := range groups {
		for i, b := range g.bars {
			y := yOf(-(top + barHeight*(float64(i)+0.5)))
			mark(y, b)
			text := b.figure.String()
			if b.note != "" {
				text += "  " + b.note
			}
			c.FillText(label, vg.Point{X: x(max(b.figure.median, upper(b.figure))) + 8, Y: y + 1}, text)
		}
		top += float64(barHeight*len(g.bars)) + groupGap
	}
}

// whisker draws the confidence interval, if there is one.
func whisker(c draw.Canvas, p *plot.Plot, y vg.Length, f figure) {
	if !f.hasInterval() {
		return
	}
	x, _ := p.Transforms(&c)
	line := draw.LineStyle{Color: ink, Width: 1}
	lo, hi := x(max(f.lo, p.X.Min)), x(f.hi)
	c.StrokeLine2(line, lo, y, hi, y)
	c.StrokeLine2(line, lo, y-3, lo, y+3)
	c.StrokeLine2(line, hi, y-3, hi, y+3)
}

// upper is the upper end of the interval, or the median without one.
func upper(f figure) float64 {
	if f.hasInterval() {
		return f.hi
	}
	return f.median
}

func unitOf(groups []group) string { return groups[0].bars[0].figure.unit }
