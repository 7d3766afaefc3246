package main

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// point is a figure at some place of the horizontal axis.
type point struct {
	x      float64
	figure figure
}

// curveChart draws two lines over a logarithmic axis, which has a number
// at each power of ten; the vertical axis starts at zero.
func curveChart(title, axis string, series []series, curves [2][]point) *drawing {
	p := newPlot()
	p.X.Scale = plot.LogScale{}
	p.X.Min, p.X.Max = math.Inf(1), math.Inf(-1)
	p.Y.Min, p.Y.Max = 0, 0
	var unit string
	for _, curve := range curves {
		for _, pt := range curve {
			unit = pt.figure.unit
			p.X.Min, p.X.Max = min(p.X.Min, pt.x), max(p.X.Max, pt.x)
			p.Y.Max = max(p.Y.Max, pt.figure.median, upper(pt.figure))
		}
	}
	p.Y.Max *= 1.12
	p.X.Padding, p.Y.Padding = 4, 34 // room for half of a figure
	p.X.Tick.Marker = numbers{powers{}, "keys"}
	p.Y.Tick.Marker = numbers{steps{}, unit}
	p.Y.Tick.Label.Color = faint
	d := &drawing{title: title, axis: axis, series: series, height: 280, plot: p}
	d.marks = func(c draw.Canvas, p *plot.Plot) {
		horizontals(c, p)
		for i, curve := range curves {
			drawCurve(c, p, series[i], curve, func(at int) bool {
				return (i == 1) == (curves[1][at].figure.median >= curves[0][at].figure.median)
			})
		}
	}
	return d
}

// drawCurve draws the line, its intervals, and the figures above it or below, where
// the other line is not.
func drawCurve(c draw.Canvas, p *plot.Plot, s series, curve []point, isAbove func(i int) bool) {
	x, y := p.Transforms(&c)
	var line []vg.Point
	for i, pt := range curve {
		above := isAbove(i)
		at := vg.Point{X: x(pt.x), Y: y(pt.figure.median)}
		line = append(line, at)
		end := at.Y
		if pt.figure.hasInterval() {
			lo, hi := y(pt.figure.lo), y(pt.figure.hi)
			if end = lo; above {
				end = hi
			}
			thin := draw.LineStyle{Color: s.color, Width: 1.2}
			c.StrokeLine2(thin, at.X, lo, at.X, hi)
			c.StrokeLine2(thin, at.X-3, lo, at.X+3, lo)
			c.StrokeLine2(thin, at.X-3, hi, at.X+3, hi)
		}
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: s.color, Radius: 4, Shape: draw.CircleGlyph{}}, at)
		label, away := style(textSize, ink, draw.XCenter, draw.YTop), vg.Length(-7)
		if above {
			label, away = style(textSize, ink, draw.XCenter, draw.YBottom), 7
		}
		fillOver(c, label, vg.Point{X: at.X, Y: end + away}, pt.figure.String())
	}
	c.StrokeLines(draw.LineStyle{Color: s.color, Width: 2}, line)
}

// fillOver writes on white, so that no line of the axis runs through the text.
func fillOver(c draw.Canvas, s text.Style, at vg.Point, txt string) {
	box := s.Rectangle(txt).Add(at)
	c.FillPolygon(color.White, rectangle(box.Min.X, box.Min.Y, box.Size().X, box.Size().Y))
	c.FillText(s, at, txt)
}
