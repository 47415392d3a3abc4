package channel

import "testing"

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
	for title, pair := range hostilePairs() {
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
