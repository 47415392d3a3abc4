// Promql reads queries of Prometheus, a JSON array of strings, from standard input, and says what
// each asks for: the metrics with the labels by which they are chosen, and the labels by which they
// are grouped. A query that is wrong has an error. It is a module of its own: Prometheus's parser is
// for tests, and nothing that the product needs.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Query is what a query asks for.
type Query struct {
	Error     string     `json:"error,omitempty"`
	Selectors []Selector `json:"selectors"`
}

// Selector is one metric in a query.
type Selector struct {
	Name string `json:"name"`
	// Labels are those that must have some value: label → the value, or a regular expression.
	Labels map[string]string `json:"labels"`
	// Grouped are the labels by which the metric, or what is made of it, is grouped.
	Grouped []string `json:"grouped"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func run() error {
	var texts []string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		return err
	}
	queries := make([]Query, len(texts))
	for i, text := range texts {
		queries[i] = read(text)
	}
	return json.NewEncoder(os.Stdout).Encode(queries)
}

func read(text string) (q Query) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return Query{Error: err.Error()}
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		v, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		s := Selector{Name: v.Name, Labels: map[string]string{}}
		for _, m := range v.LabelMatchers {
			if m.Name != labels.MetricName {
				s.Labels[m.Name] = m.Value
			}
		}
		for _, outer := range path {
			if a, ok := outer.(*parser.AggregateExpr); ok {
				s.Grouped = append(s.Grouped, a.Grouping...)
			}
		}
		q.Selectors = append(q.Selectors, s)
		return nil
	})
	return q
}
