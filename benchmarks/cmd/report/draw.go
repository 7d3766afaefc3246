package main

import (
	"bytes"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	xfont "golang.org/x/image/font"
)

// drawing is a chart on a white card: a title, the series, and a plot. The card
// is opaque, so that the chart reads alike on a light page and on a dark one.
type drawing struct {
	title  string
	axis   string // what the horizontal axis shows
	series []series
	height vg.Length // of the plot with its axes
	plot   *plot.Plot
	marks  func(c draw.Canvas, p *plot.Plot) // draws the data
}

// series is a name in the legend and the colour of what belongs to it.
type series struct {
	name  string
	color color.Color
}

// Lengths are points; the card is as wide as a page of text shows it.
const (
	cardWidth  = 680
	margin     = 18
	headHeight = 48 // title and legend
	axisName   = 14
	textSize   = 10.5
)

// Colours that stay apart for the colour-blind (after Okabe and Ito), and dark
// enough on white.
var (
	grey   = color.RGBA{0x9a, 0xa1, 0xa9, 0xff} // the bare operation
	blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff} // keystore
	orange = color.RGBA{0xe0, 0x8a, 0x00, 0xff} // keystore, cached
	ink    = color.RGBA{0x1f, 0x23, 0x28, 0xff}
	faint  = color.RGBA{0x59, 0x63, 0x6e, 0xff}
	rule   = color.RGBA{0xe4, 0xe7, 0xeb, 0xff}
	border = color.RGBA{0xd0, 0xd7, 0xde, 0xff}
)

// style is text of that size in the charts' font, which lies beside its point as
// the alignments say.
func style(size float64, c color.Color, x draw.XAlignment, y draw.YAlignment) text.Style {
	return text.Style{
		Color: c, XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(size)},
	}
}

func bold(s text.Style) text.Style {
	s.Font.Weight = xfont.WeightBold
	return s
}

// newPlot is a plot with the charts' axes, and none of gonum's defaults that
// would show.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Tick.Label = style(textSize, faint, draw.XCenter, draw.YTop)
	p.Y.Tick.Label = style(textSize, ink, draw.XRight, draw.YCenter)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.LineStyle.Width = 0
		axis.Tick.LineStyle.Width = 0
		axis.Tick.Length = 4
		axis.Padding = 0
	}
	return p
}

func (d *drawing) size() (w, h vg.Length) {
	return cardWidth, d.height + headHeight + 2*margin
}

// svg draws the card. The font is not embedded, which would take 400 KB; where
// it is missing, others of the same widths stand in.
func (d *drawing) svg() ([]byte, error) {
	canvas := vgsvg.New(d.size())
	d.on(draw.New(canvas))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;")), nil
}

// on draws the card on any canvas of its size, once.
func (d *drawing) on(c draw.Canvas) {
	card := rounded(draw.Crop(c, 0.5, -0.5, 0.5, -0.5).Rectangle, 8)
	c.SetColor(color.White)
	c.Fill(card)
	c.SetLineStyle(draw.LineStyle{Color: border, Width: 1})
	c.Stroke(card)

	c = draw.Crop(c, margin, -margin, margin, -margin)
	c.FillText(bold(style(13.5, ink, draw.XLeft, draw.YTop)), vg.Point{X: c.Min.X, Y: c.Max.Y}, d.title)
	d.legend(c, c.Max.Y-26)
	c = draw.Crop(c, 0, 0, axisName, -headHeight)
	d.plot.Add(marks(func(c draw.Canvas, p *plot.Plot) {
		d.marks(c, p)
		// Plot's own name of an axis pushes the data aside where the scale is logarithmic.
		c.FillText(style(textSize, faint, draw.XCenter, draw.YTop), vg.Point{X: c.Center().X, Y: c.Min.Y - 18}, d.axis)
	}))
	d.plot.Draw(c)
}

// legend names the series in one line.
func (d *drawing) legend(c draw.Canvas, y vg.Length) {
	const side = 9
	names := style(textSize, ink, draw.XLeft, draw.YCenter)
	x := c.Min.X
	for _, s := range d.series {
		c.FillPolygon(s.color, rectangle(x, y-side/2, side, side))
		c.FillText(names, vg.Point{X: x + side + 5, Y: y}, s.name)
		x += side + 5 + names.Width(s.name) + 20
	}
}

// marks makes a function a plotter.
type marks func(c draw.Canvas, p *plot.Plot)

func (m marks) Plot(c draw.Canvas, p *plot.Plot) { m(c, p) }

func rectangle(x, y, w, h vg.Length) []vg.Point {
	return []vg.Point{{X: x, Y: y}, {X: x + w, Y: y}, {X: x + w, Y: y + h}, {X: x, Y: y + h}}
}

// rounded is the outline of r with corners of that radius.
func rounded(r vg.Rectangle, radius vg.Length) vg.Path {
	var p vg.Path
	corner := func(x, y, toX, toY vg.Length) { p.QuadTo(vg.Point{X: x, Y: y}, vg.Point{X: toX, Y: toY}) }
	p.Move(vg.Point{X: r.Min.X + radius, Y: r.Min.Y})
	p.Line(vg.Point{X: r.Max.X - radius, Y: r.Min.Y})
	corner(r.Max.X, r.Min.Y, r.Max.X, r.Min.Y+radius)
	p.Line(vg.Point{X: r.Max.X, Y: r.Max.Y - radius})
	corner(r.Max.X, r.Max.Y, r.Max.X-radius, r.Max.Y)
	p.Line(vg.Point{X: r.Min.X + radius, Y: r.Max.Y})
	corner(r.Min.X, r.Max.Y, r.Min.X, r.Max.Y-radius)
	p.Line(vg.Point{X: r.Min.X, Y: r.Min.Y + radius})
	corner(r.Min.X, r.Min.Y, r.Min.X+radius, r.Min.Y)
	p.Close()
	return p
}
