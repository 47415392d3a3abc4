package suite

import "testing"

// TestGo puts the Go client through the suite.
func TestGo(t *testing.T) {
	runSuite(t, []string{built(t, "godriver")})
}

// runSuite starts two nodes and a client's driver, and runs all scenarios: at the same time
// those that leave the nodes alone, then the others one after the other.
func runSuite(t *testing.T, argv []string, env ...string) {
	t.Helper()
	t.Parallel()
	scenarios := loadScenarios(t)
	apps := newDocument(t, scenarios)
	fleet := startFleet(t, apps)
	tokens := startTokenServer(t, apps)
	d := startDriver(t, argv, env...)
	perform := func(t *testing.T, s *scenario) {
		r := &run{scenario: s, t: t, driver: d, nodes: fleet.fronts(t), tokens: tokens, kept: object{}, later: map[string]<-chan object{}, taken: map[string]int{}}
		r.perform()
	}
	t.Run("together", func(t *testing.T) {
		for _, s := range scenarios {
			if !s.Alone {
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					perform(t, s)
				})
			}
		}
	})
	for _, s := range scenarios {
		if s.Alone {
			t.Run(s.Name, func(t *testing.T) { perform(t, s) })
		}
	}
}
