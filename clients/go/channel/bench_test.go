package channel

import (
	"strconv"
	"strings"
	"testing"
)

func BenchmarkMatch(b *testing.B) {
	const name = "fleets/f1/devices/camera-001/events"
	for _, pattern := range []string{
		name,
		"fleets/**",
		"fleets/f1/devices/*/events",
		"fleets/*/devices/*/events",
		"**/devices/**/events",
		"**/camera-*/events",
	} {
		b.Run(pattern, func(b *testing.B) {
			benchmarkMatch(b, pattern, name, true)
		})
	}
	for title, pair := range allowedHostilePairs() {
		b.Run("hostile: "+title, func(b *testing.B) {
			benchmarkMatch(b, pair[0], pair[1], regexpFor(pair[0]).MatchString(pair[1]))
		})
	}
}

func benchmarkMatch(b *testing.B, pattern, name string, want bool) {
	p := mustCompile(b, pattern)
	b.ReportAllocs()
	for b.Loop() {
		if p.Match(name) != want {
			b.Fatalf("Compile(%q).Match(%q) = %v", pattern, name, !want)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustCompile(b, "fleets/*/devices/*/events")
	}
}

func BenchmarkCovers(b *testing.B) {
	for _, pair := range [][2]string{
		{"fleets/**", "fleets/f1/devices/camera-001/events"},
		{"fleets/**", "fleets/*/devices/*/events"},
		{"fleets/*/devices/**", "fleets/f1/devices/**/events"},
		{"**/devices/**/events", "**/devices/**/alarms/**/events"},
	} {
		b.Run(pair[0]+" covers "+pair[1], func(b *testing.B) {
			p, q := mustCompile(b, pair[0]), mustCompile(b, pair[1])
			b.ReportAllocs()
			for b.Loop() {
				if !p.Covers(q) {
					b.Fatal("and does not")
				}
			}
		})
	}
}

// BenchmarkCoversHostile is what one request can make the checks of a hundred patterns against a hundred cost.
func BenchmarkCoversHostile(b *testing.B) {
	for _, pair := range [][2]string{
		{"**/*" + strings.Repeat("/*", 13) + "/#", "**/**/**/" + strings.Repeat("*/", 10) + "*/#"},
		{"**a*" + strings.Repeat("/*", 11) + "/**", strings.Repeat("/**a", 15) + "/#*"},
		{"**" + strings.Repeat("a", 200) + "**#", "**" + strings.Repeat("a", 200) + "b**#"},
		{"**" + strings.Repeat("/*", 14) + "/#*", strings.Repeat("/a", 120) + "#"},
		{"sites/*/line-#/**", "sites/*/line-#/*/events"},
		{"sites/#/**", "sites/#/*/events"},
	} {
		b.Run(pair[0][:8]+" "+pair[1][:8], func(b *testing.B) {
			var wider, narrower []*Pattern
			for i := range 100 {
				wider = append(wider, mustCompile(b, strings.ReplaceAll(pair[0], "#", strconv.Itoa(i))))
				narrower = append(narrower, mustCompile(b, strings.ReplaceAll(pair[1], "#", strconv.Itoa(i))))
			}
			for b.Loop() {
				effort := MaxEffort
				for _, q := range narrower {
					CoveredBy(wider, q, &effort)
				}
			}
		})
	}
}
