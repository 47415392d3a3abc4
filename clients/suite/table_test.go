package suite

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The table of what clients do names each scenario, and no other.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range loadScenarios(t) {
		known[s.Name] = true
	}
	named := map[string]bool{}
	_, table, _ := strings.Cut(string(text), "## Features\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[len(cells)-2], -1) {
			if named[m[1]] = true; !known[m[1]] {
				t.Errorf("clients/README.md names the scenario %s, which scenarios.json does not have", m[1])
			}
		}
	}
	for name := range known {
		if !named[name] {
			t.Errorf("the table of clients/README.md does not name the scenario %s", name)
		}
	}
}
