package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/groups"
	"fleetwire/functions/history"
	"fleetwire/functions/routes"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/registry"
	"fleetwire/pkg/usage"
)

// checkRoutes: the operations are the routes.
func checkRoutes(d *document) []string {
	var documented, real []string
	for _, path := range sortedKeys(d.object("paths")) {
		for _, method := range sortedKeys(d.object("paths", path)) {
			if method != "parameters" {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for _, route := range routes.All() {
		real = append(real, route.String())
	}
	return differences("routes", documented, real)
}

// restOnly and framesOnly are how the catalogue marks a code that is used on
// one road alone.
func restOnly(c protocol.CodeInfo) bool   { return strings.HasPrefix(c.Meaning, "REST") }
func framesOnly(c protocol.CodeInfo) bool { return strings.HasPrefix(c.Meaning, "`error` frames only") }

// checkErrors: the errors of all operations, each with its status, are those of
// the catalogue.
func checkErrors(d *document) []string {
	documented := map[string]bool{}
	for path, methods := range d.object("paths") {
		for method := range methods.(map[string]any) {
			for status := range d.object("paths", path, method, "responses") {
				for _, code := range texts(d.at("paths", path, method, "responses", status, "content", "application/json", "schema", "properties", "error", "enum")) {
					documented[status+" "+code] = true
				}
			}
		}
	}
	real := []string{"413 invalid_request", "415 invalid_request"}
	for _, c := range protocol.Codes() {
		if !framesOnly(c) {
			real = append(real, fmt.Sprintf("%d %s", c.HTTPStatus, c.Code))
		}
	}
	return differences("errors", sortedKeys(documented), real)
}

// checkRESTLimits: the bounds in the schemas are those of the code.
func checkRESTLimits(d *document) []string {
	schema := func(name string, keys ...string) []string {
		return append([]string{"components", "schemas", name}, keys...)
	}
	request := func(field, bound string) []string { return schema("TokenRequest", "properties", field, bound) }
	actions := []any{}
	for _, a := range (^apps.Actions(0)).List() {
		actions = append(actions, string(a))
	}
	return compare(d, []limit{
		{schema("PeerID", "maxLength"), protocol.MaxPeerIDBytes},
		{schema("ChannelName", "maxLength"), channel.MaxBytes},
		{schema("ChannelPattern", "maxLength"), channel.MaxBytes},
		{schema("Action", "enum"), actions},
		{request("channels", "maxItems"), protocol.MaxTokenChannels},
		{request("permissions", "maxItems"), protocol.MaxTokenPermissions},
		{request("expiresInSec", "default"), int(protocol.DefaultTokenTTL.Seconds())},
		{request("expiresInSec", "maximum"), int(protocol.MaxTokenTTL.Seconds())},
		{request("metadata", "x-maxBytes"), protocol.MaxMetadataBytes},
		{request("peerMetadata", "x-maxBytes"), protocol.MaxPeerMetadataBytes},
		{schema("PublishRequest", "properties", "peerMetadata", "x-maxBytes"), protocol.MaxPeerMetadataBytes},
		{schema("PublishRequest", "properties", "idempotencyKey", "maxLength"), protocol.MaxIdempotencyKeyBytes},
		{schema("PublishRequest", "properties", "ifOffset", "maximum"), protocol.MaxOffset},
		{schema("Epoch", "pattern"), fmt.Sprintf("^[A-Za-z0-9]{1,%d}$", protocol.MaxEpochBytes)},
		{schema("Offset", "maximum"), protocol.MaxOffset},
		{schema("RememberedMessages", "properties", "messages", "maxItems"), history.MaxPage},
		{schema("PublishManyRequest", "properties", "messages", "maxItems"), protocol.MaxPublishMessages},
		{schema("PublishManyRequest", "properties", "messages", "items", "properties", "peerMetadata", "x-maxBytes"), protocol.MaxPeerMetadataBytes},
		{schema("PublishedMany", "properties", "results", "maxItems"), protocol.MaxPublishMessages},
		{schema("PullRequest", "properties", "max", "maximum"), groups.MaxPull},
		{schema("PullRequest", "properties", "max", "default"), groups.DefaultPull},
		{schema("PullRequest", "properties", "maxBytes", "minimum"), groups.MinPullBytes},
		{schema("PullRequest", "properties", "maxBytes", "maximum"), groups.MaxPullBytes},
		{schema("PullRequest", "properties", "maxBytes", "default"), groups.DefaultBytes},
		{schema("PullRequest", "properties", "waitMs", "maximum"), int(groups.MaxWait.Milliseconds())},
		{schema("PullRequest", "properties", "consumer", "maxLength"), protocol.MaxPeerIDBytes},
		{schema("PulledMessages", "properties", "messages", "maxItems"), groups.MaxPull},
		{schema("AckRequest", "properties", "ackIds", "maxItems"), groups.MaxAcks},
		{schema("AckRequest", "properties", "nack", "maxItems"), groups.MaxAcks},
		{schema("AckRequest", "properties", "nack", "items", "properties", "delayMs", "maximum"), int(groups.MaxDelay.Milliseconds())},
		{schema("DeadLetters", "properties", "messages", "maxItems"), groups.MaxDead},
		{schema("RedriveRequest", "properties", "ids", "maxItems"), groups.MaxRedrive},
		{schema("CommandRequest", "properties", "waitMs", "default"), int(command.DefaultWait.Milliseconds())},
		{schema("CommandRequest", "properties", "waitMs", "maximum"), int(command.MaxWait.Milliseconds())},
		{schema("CommandRequest", "properties", "ttlMs", "maximum"), int(command.MaxTTL.Milliseconds())},
		{schema("CommandRequest", "properties", "timeoutMs", "minimum"), int(command.MinTimeout.Milliseconds())},
		{schema("CommandRequest", "properties", "timeoutMs", "default"), int(command.DefaultTimeout.Milliseconds())},
		{schema("CommandRequest", "properties", "timeoutMs", "maximum"), int(command.MaxTimeout.Milliseconds())},
		{schema("CommandRequest", "properties", "expect", "maximum"), command.MaxExpect},
		{schema("CommandRequest", "properties", "idempotencyKey", "maxLength"), command.MaxKeyBytes},
		{schema("CommandRequest", "properties", "collapseKey", "maxLength"), command.MaxKeyBytes},
		{schema("Command", "properties", "answers", "maxItems"), command.MaxShown},
		{schema("PeerAnswer", "properties", "attempt", "maximum"), command.MaxAttempts},
		{schema("CommandStatus", "enum"), statuses(command.OfCommands)},
		{schema("PeerStatus", "enum"), statuses(command.OfPeers)},
		{[]string{"components", "parameters", "Limit", "schema", "default"}, usage.DefaultLimit},
		{[]string{"components", "parameters", "Limit", "schema", "maximum"}, usage.MaxLimit},
		{[]string{"components", "parameters", "PeersLimit", "schema", "default"}, presence.MaxPage},
		{[]string{"components", "parameters", "PeersLimit", "schema", "maximum"}, presence.MaxPage},
		{[]string{"components", "parameters", "PeersLimit", "schema", "maximum"}, registry.MaxPage},
	})
}

func statuses(all []command.Status) (texts []any) {
	for _, s := range all {
		texts = append(texts, string(s))
	}
	return texts
}

// limit is a value in a document and what the code has.
type limit struct {
	at   []string
	want any
}

func compare(d *document, limits []limit) (found []string) {
	for _, l := range limits {
		got := d.at(l.at...)
		if fmt.Sprint(sorted(got)) != fmt.Sprint(sorted(l.want)) {
			found = append(found, fmt.Sprintf("%s is %v in the document and %v in the code", strings.Join(l.at, "."), got, l.want))
		}
	}
	return found
}

func sorted(v any) any {
	if _, ok := v.([]any); ok {
		return texts(v)
	}
	return v
}

// checkProse: what a description says of a bound is true, though no schema can
// say it.
func checkProse(d *document) []string {
	return says(d, map[string][]string{
		fmt.Sprintf("at most %d KiB (%d bytes)", protocol.MaxBodyBytes>>10, protocol.MaxBodyBytes):                          {"info", "description"},
		fmt.Sprintf("`POST /v1/tokens` %d KiB (%d bytes)", protocol.MaxTokenBodyBytes>>10, protocol.MaxTokenBodyBytes):      {"info", "description"},
		fmt.Sprintf("`POST /v1/publish` %d KiB (%d bytes)", protocol.MaxPublishBodyBytes>>10, protocol.MaxPublishBodyBytes): {"info", "description"},
		fmt.Sprintf("`POST /v1/groups/{group}/ack` %d KiB (%d bytes)", groups.MaxAckBodyBytes>>10, groups.MaxAckBodyBytes):  {"info", "description"},
		fmt.Sprintf("at most %d KiB (%d bytes)", protocol.MaxBodyBytes>>10, protocol.MaxBodyBytes) + ".":                    {"components", "schemas", "PublishManyRequest", "properties", "messages", "items", "description"},
		fmt.Sprintf("At most %d KiB (%d bytes)", protocol.MaxMetadataBytes>>10, protocol.MaxMetadataBytes):                  {"components", "schemas", "TokenRequest", "properties", "metadata", "description"},
		fmt.Sprintf("At most %d KiB (%d bytes)", protocol.MaxPeerMetadataBytes>>10, protocol.MaxPeerMetadataBytes):          {"components", "schemas", "TokenRequest", "properties", "peerMetadata", "description"},
	})
}

func says(d *document, sentences map[string][]string) (found []string) {
	for sentence, at := range sentences {
		if text, _ := d.at(at...).(string); !strings.Contains(text, sentence) {
			found = append(found, fmt.Sprintf("%s does not say %q", strings.Join(at, "."), sentence))
		}
	}
	slices.Sort(found)
	return found
}

var openAPIChecks = []func(*document) []string{checkRoutes, checkErrors, checkRESTLimits, checkProse, checkAnswers}

func TestOpenAPI(t *testing.T) { runChecks(t, openAPI, openAPIChecks) }

func runChecks(t *testing.T, file string, checks []func(*document) []string) {
	d := load(t, file)
	for _, check := range checks {
		for _, problem := range check(d) {
			t.Errorf("%s: %s", file, problem)
		}
	}
}

// Each of these mistakes is one that a linter cannot see.
func TestOpenAPIMistakes(t *testing.T) {
	seed(t, openAPIChecks, []mistake{
		{"a route that is none", openAPI, "  /v1/usage:\n", "  /v1/usages:\n"},
		{"another method", openAPI, "    delete:\n", "    post:\n"},
		{"an error that is left out", openAPI, "enum: [rate_limited, over_message_quota, group_full]", "enum: [rate_limited, over_message_quota]"},
		{"an error of another status", openAPI, "enum: [invalid_request, invalid_peer_id, invalid_channel, channel_reserved]", "enum: [invalid_request, invalid_peer_id, invalid_channel, channel_reserved, account_suspended]"},
		{"an error that the operation never gives", openAPI, "enum: [invalid_request, invalid_peer_id]", "enum: [invalid_request, invalid_peer_id, missing_data]"},
		{"another bound", openAPI, "maxItems: 100", "maxItems: 1000"},
		{"another default", openAPI, "default: 3600", "default: 360"},
		{"an action too few", openAPI, "enum: [publish, subscribe, presence, send]", "enum: [publish, subscribe, presence]"},
		{"another size in words", openAPI, "32 KiB (32768 bytes)", "64 KiB (65536 bytes)"},
		{"another field in an answer", openAPI, "required: [channel, subscribers]", "required: [channel, receivers]"},
		{"a field of another type", openAPI, "overagesAllowed:\n          type: boolean", "overagesAllowed:\n          type: integer"},
		{"a field of a body that is not taken", openAPI, "        expiresInSec:\n", "        expiresIn:\n"},
		{"a field of a body that must not be missing", openAPI, "required: [peerId]\n      additionalProperties: false", "required: [peerId, channels]\n      additionalProperties: false"},
		{"a query parameter that is not taken", openAPI, "- name: revoke", "- name: revoked"},
		{"a header that is not there", openAPI, "        Allow:", "        Allowed:"},
		{"a header with another value", openAPI, "const: Bearer", "const: Basic"},
	})
}

// seed wants some check to find each mistake.
func seed(t *testing.T, checks []func(*document) []string, mistakes []mistake) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			right, wrong := load(t, m.file), parse(t, m.text(t))
			for _, check := range checks {
				known := check(right)
				for _, problem := range check(wrong) {
					if !slices.Contains(known, problem) {
						return
					}
				}
			}
			t.Errorf("no check sees that %q became %q", m.right, m.wrong)
		})
	}
}
