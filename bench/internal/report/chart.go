package report

import (
	"cmp"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Chart is one figure of several systems in one or more scenarios, as bars.
type Chart struct {
	File, Title string
	Metric      string
	Groups      []Group
}

// Group is the bars of one scenario.
type Group struct{ Label, Scenario string }

// Plot draws the charts into the directory, with the goals as lines. A chart of
// which nothing was measured is left out.
func Plot(r *Run, charts []Chart, goals []Goal, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, c := range charts {
		if svg := r.draw(c, goals); svg != "" {
			if err := os.WriteFile(filepath.Join(dir, c.File), []byte(svg), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// Sizes of a chart, in pixels.
const (
	chartWidth = 760
	labelWidth = 130 // of the systems' names, on the left
	valueWidth = 170 // of the figures, on the right
	barWidth   = chartWidth - labelWidth - valueWidth
	rowHeight  = 24
	barHeight  = 14
)

// style holds for light and dark pages: the chart brings its own background. Ours
// is told apart by its bold name too, and every bar has its name.
const style = `
 text { font: 13px system-ui, sans-serif; fill: #1f2328 }
 .background { fill: #ffffff } .title { font-size: 15px; font-weight: 600 } .group { fill: #59636e } .ours { font-weight: 700 }
 .bar { fill: #8c959f } .bar.ours { fill: #0969da } .range { stroke: #1f2328; stroke-width: 1.5 }
 .goal { stroke: #1a7f37; stroke-width: 2; stroke-dasharray: 5 3 } .goal-label { fill: #1a7f37; font-size: 12px }
 @media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .background { fill: #0d1117 } .group { fill: #9198a1 }
  .bar { fill: #6e7681 } .bar.ours { fill: #4493f8 } .range { stroke: #e6edf3 }
  .goal { stroke: #3fb950 } .goal-label { fill: #3fb950 }
 }
`

// row is a bar, the label of a goal, or else the label of a group.
type row struct {
	text   string
	metric *Metric // of a bar
	ours   bool
	goal   *goalLine
}

// goalLine goes from the first bar of a group down to its label.
type goalLine struct {
	at   float64
	rows int // how many rows it crosses before its label
}

func (r *Run) draw(c Chart, goals []Goal) string {
	var rows []row
	most, unit := 0.0, ""
	for _, g := range c.Groups {
		bars := r.bars(g.Scenario, c.Metric)
		if len(bars) == 0 {
			continue
		}
		rows = append(rows, row{text: g.Label})
		for _, b := range bars {
			most, unit = max(most, b.metric.Summary.Max), b.metric.Unit
		}
		rows = append(rows, bars...)
		for _, l := range r.goalLines(g.Scenario, c.Metric, goals, len(bars)) {
			most = max(most, l.goal.at)
			rows = append(rows, l)
		}
	}
	if len(rows) == 0 || most <= 0 {
		return ""
	}
	return paint(c.Title, unit, rows, most)
}

func (r *Run) bars(scenario, metric string) (bars []row) {
	for _, s := range r.Scenarios {
		if s.Name != scenario {
			continue
		}
		for i := range s.Systems {
			if m := s.Systems[i].Metric(metric); m != nil {
				bars = append(bars, row{text: s.Systems[i].Name, metric: m, ours: ours(s.Systems[i].Name)})
			}
		}
	}
	return bars
}

func ours(system string) bool {
	switch system {
	case "fleetwire", "embedded", "nodes":
		return true
	}
	return false
}

func (r *Run) goalLines(scenario, metric string, goals []Goal, bars int) (labels []row) {
	for _, g := range goals {
		if g.Scenario != scenario || g.Metric != metric {
			continue
		}
		at, text := g.Bound, "goal: ≤ "
		if g.AtLeast {
			text = "goal: ≥ "
		}
		text += Number(g.Bound)
		if g.Over != "" {
			theirs := r.find(scenario, g.Over, metric)
			if theirs == nil {
				continue
			}
			at *= theirs.Summary.Median
			text += " × " + g.Over
		}
		labels = append(labels, row{text: text, goal: &goalLine{at: at}})
	}
	// From right to left, so that no line crosses another's label.
	slices.SortStableFunc(labels, func(a, b row) int { return cmp.Compare(b.goal.at, a.goal.at) })
	for i := range labels {
		labels[i].goal.rows = bars + i
	}
	return labels
}

func paint(title, unit string, rows []row, most float64) string {
	scale := func(v float64) float64 { return labelWidth + max(v, 0)/most*barWidth }
	height := 40 + rowHeight*len(rows) + 10
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n<style>%s</style>\n",
		chartWidth, height, chartWidth, height, html.EscapeString(title), style)
	fmt.Fprintf(&b, `<rect class="background" width="%d" height="%d"/>`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<text class="title" x="12" y="24">%s</text>`+"\n", html.EscapeString(title))
	for i, r := range rows {
		top := 40 + rowHeight*i
		base := top + rowHeight/2 + 5
		switch {
		case r.metric != nil:
			paintBar(&b, r, unit, top, base, scale)
		case r.goal != nil:
			x, anchor, aside := scale(r.goal.at), "start", 5.0
			if x > chartWidth/2 {
				anchor, aside = "end", -5
			}
			fmt.Fprintf(&b, `<line class="goal" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, x, top-rowHeight*r.goal.rows, x, base)
			fmt.Fprintf(&b, `<text class="goal-label" x="%.1f" y="%d" text-anchor="%s">%s</text>`+"\n", x+aside, base, anchor, html.EscapeString(r.text))
		default:
			fmt.Fprintf(&b, `<text class="group" x="12" y="%d">%s</text>`+"\n", base, html.EscapeString(r.text))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// paintBar draws the median as a bar, and the range as a line across its end.
func paintBar(b *strings.Builder, r row, unit string, top, base int, scale func(float64) float64) {
	class := ""
	if r.ours {
		class = " ours"
	}
	s, middle := r.metric.Summary, float64(top)+rowHeight/2
	fmt.Fprintf(b, `<text class="name%s" x="%d" y="%d" text-anchor="end">%s</text>`, class, labelWidth-8, base, html.EscapeString(r.text))
	fmt.Fprintf(b, `<rect class="bar%s" x="%d" y="%.1f" width="%.1f" height="%d"/>`, class, labelWidth, middle-barHeight/2, scale(s.Median)-labelWidth, barHeight)
	if s.Max > s.Min {
		fmt.Fprintf(b, `<line class="range" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, scale(s.Min), middle, scale(s.Max), middle)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", labelWidth+barWidth+10, base, html.EscapeString(strings.TrimSpace(summary(s)+" "+unit)))
}
