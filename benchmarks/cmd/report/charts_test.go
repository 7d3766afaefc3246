package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/recorder"
)

// Each chart is a small, well-formed SVG of finite numbers.
func TestCharts(t *testing.T) {
	r, err := readResults(made(t, 10))
	require.NoError(t, err)
	p := &page{results: r, files: map[string][]byte{}}
	for name := range charts {
		link, err := p.chart(name, "what is seen")
		require.NoError(t, err, name)
		assert.Equal(t, "![what is seen](charts/"+name+".svg)", link)
	}
	require.Empty(t, p.missing)
	require.Len(t, p.files, len(charts))
	for name, svg := range p.files {
		assert.Less(t, len(svg), 60_000, name)
		assert.NotContains(t, string(svg), "NaN", name)
		assert.NotContains(t, string(svg), "Inf", name)
		assert.Contains(t, string(svg), "font-family:'Liberation Sans',Arial,Helvetica,sans-serif;", name)
		assert.NotContains(t, string(svg), "font-family:Liberation", name)
		d := xml.NewDecoder(bytes.NewReader(svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, name)
		}
	}
}

// A chart that lacks a benchmark is not drawn, and what it lacks is named.
func TestChartMissing(t *testing.T) {
	files, err := build(read(t, "few.txt", few()), `{{chart "keys" "keys"}}`)
	assert.Nil(t, files)
	assert.ErrorContains(t, err, "there is no benchmark Lookup/backend=badger/case=hit-uncached/keys=1000/callers=1")
}

// No text runs into another or over the edge of the card, whatever the figures are:
// as they are expected, far smaller, far larger, scattered, or with ours below raw.
func TestChartText(t *testing.T) {
	scaled := func(factor float64) func(int) float64 { return func(int) float64 { return factor } }
	for name, change := range map[string]func(line int) float64{
		"expected": scaled(1),
		"small":    scaled(0.013),
		"large":    scaled(77),
		"scatter":  func(line int) float64 { return math.Pow(3, math.Sin(float64(7*line))) },
	} {
		for _, samples := range []int{3, 10} {
			r, err := readResults(madeFrom(t, samples, change))
			require.NoError(t, err)
			p := &page{results: r, files: map[string][]byte{}}
			for chart, draw := range charts {
				assertApart(t, fmt.Sprintf("%s, %s, %d samples", chart, name, samples), draw(p))
			}
		}
	}
}

// Two lines that cross and meet keep their figures apart.
func TestCurvesThatMeet(t *testing.T) {
	var curves [2][]point
	for i, ours := range []float64{5e-6, 6e-6, 5.9e-6, 9e-6, 6.1e-6} {
		x := math.Pow(10, float64(i+3))
		curves[0] = append(curves[0], point{x, summarize([]float64{6e-6}, "raw-sec/op")})
		curves[1] = append(curves[1], point{x, summarize([]float64{ours}, "ours-sec/op")})
	}
	assertApart(t, "crossing", curveChart("a title", "keys", rawAndOurs, curves))
}

func assertApart(t *testing.T, name string, d *drawing) {
	t.Helper()
	type text struct {
		words string
		box   vg.Rectangle
	}
	var canvas recorder.Canvas
	w, h := d.size()
	d.on(draw.NewCanvas(&canvas, w, h))
	var texts []text
	for _, action := range canvas.Actions {
		switch a := action.(type) {
		case *recorder.FillString:
			face := plot.DefaultTextHandler.Cache().Lookup(a.Font, a.Size)
			// Ascent and descent leave more room than the letters take.
			box := vg.Rectangle{Min: a.Point, Max: a.Point.Add(vg.Point{X: face.Width(a.String), Y: 0.75 * a.Size})}
			texts = append(texts, text{a.String, box})
		case *recorder.Rotate, *recorder.Translate, *recorder.Scale:
			require.Fail(t, "text is not where this test looks for it", name)
		}
	}
	require.NotEmpty(t, texts, name)
	for i, a := range texts {
		assert.True(t, a.box.Min.X > 8 && a.box.Max.X < w-8 && a.box.Min.Y > 8 && a.box.Max.Y < h-8, "%s: %q is over the edge: %v", name, a.words, a.box)
		for _, b := range texts[:i] {
			apart := a.box.Max.X < b.box.Min.X || b.box.Max.X < a.box.Min.X || a.box.Max.Y < b.box.Min.Y || b.box.Max.Y < a.box.Min.Y
			assert.True(t, apart, "%s: %q runs into %q", name, a.words, b.words)
		}
	}
}
