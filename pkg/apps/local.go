package apps

import "encoding/json"

// The document's shape for writing. Reading does not use it: encoding/json
// forgives what Parse must not (other cases of a name, doubles, null).
type (
	documentOut struct {
		Apps []appOut `json:"apps"`
	}
	appOut struct {
		ID        string     `json:"id"`
		Suspended bool       `json:"suspended"`
		Plan      planOut    `json:"plan"`
		Limits    limitsOut  `json:"limits"`
		History   []ruleOut  `json:"history"`
		Groups    []groupOut `json:"groups"`
		Keys      []keyOut   `json:"keys"`
	}
	ruleOut struct {
		Pattern string `json:"pattern"`
		Size    int    `json:"size"`
		TTLSec  int    `json:"ttlSec"`
	}
	groupOut struct {
		Name     string   `json:"name"`
		Patterns []string `json:"patterns"`
		MaxBytes int64    `json:"maxBytes"`
		Overflow string   `json:"overflow"`
	}
	planOut struct {
		Name                     string `json:"name"`
		MaxConcurrentConnections int64  `json:"maxConcurrentConnections"`
		MaxMessagesPerPeriod     int64  `json:"maxMessagesPerPeriod"`
		OveragesAllowed          bool   `json:"overagesAllowed"`
		OveragesEnabled          bool   `json:"overagesEnabled"`
	}
	limitsOut struct {
		ConnectionMessagesPerSec int `json:"connectionMessagesPerSec"`
		ConnectionMessagesBurst  int `json:"connectionMessagesBurst"`
		ConnectsPerAddressPerMin int `json:"connectsPerAddressPerMin"`
		RESTPerSec               int `json:"restPerSec"`
		RESTBurst                int `json:"restBurst"`
		MaxTokenLifeSec          int `json:"maxTokenLifeSec,omitempty"`
	}
	keyOut struct {
		ID              string   `json:"id"`
		Secret          string   `json:"secret,omitempty"`
		ChannelPatterns []string `json:"channelPatterns"`
		Actions         []Action `json:"actions"`
	}
)

// NewLocalDocument makes the document that localdev writes at its first start:
// one app, app_local, with a fresh secret key that may do everything and a
// fresh publishable key, whose id is public, to subscribe to public/**. Some channels remember their messages, and events wait for a group of ingesters. Its limits
// leave room for a load test from a single address. It contains a secret: write it for its owner alone.
func NewLocalDocument() []byte {
	limits := DefaultLimits()
	limits.ConnectsPerAddressPerMin = 100_000
	limits.RESTPerSec = 1000
	limits.RESTBurst = 2000

	id, secret := GenerateKeyPair()
	doc := documentOut{Apps: []appOut{{
		ID: "app_local",
		Plan: planOut{
			Name:                     "dev",
			MaxConcurrentConnections: DefaultPlan().MaxConcurrentConnections,
			MaxMessagesPerPeriod:     DefaultPlan().MaxMessagesPerPeriod,
		},
		Limits: limitsOut(limits),
		History: []ruleOut{ // as docs/recipes.md has them
			{"devices/*/desired", 1, 604800}, {"devices/*/reported", 1, 604800}, {"devices/*/state", 1, 604800}, {"fleets/*/log", 100, 86400},
		},
		// Of the examples' ingester. Where none runs, the oldest events go: devices are not refused.
		Groups: []groupOut{{"ingest", []string{"devices/*/events"}, 64 << 20, "drop_oldest"}},
		Keys: []keyOut{
			{ID: id, Secret: secret, ChannelPatterns: []string{"**", "_system/connectivity/**"}, Actions: AllActions.List()},
			{ID: GeneratePublishableID(), ChannelPatterns: []string{"public/**"}, Actions: []Action{ActionSubscribe}},
		},
	}}}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic("apps: " + err.Error()) // plain strings and numbers always marshal
	}
	return append(out, '\n')
}
