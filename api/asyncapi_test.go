package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// messages are the keys of those that operations of the action carry, and of
// those of the replies to the others.
func messages(d *document, action string) []string {
	names := map[string]bool{}
	add := func(list any) {
		items, _ := list.([]any)
		for _, item := range items {
			ref, _ := item.(map[string]any)["$ref"].(string)
			names[path.Base(ref)] = true
		}
	}
	for _, operation := range sortedKeys(d.object("operations")) {
		if d.at("operations", operation, "action") == action {
			add(d.at("operations", operation, "messages"))
		} else {
			add(d.at("operations", operation, "reply", "messages"))
		}
	}
	return sortedKeys(names)
}

// payload is where the schema of a message is.
func payload(d *document, message string) []string {
	return d.resolve("channels", "socket", "messages", message, "payload")
}

func properties(d *document, message string) map[string]any {
	return d.object(append(payload(d, message), "properties")...)
}

func frameTypes() (names []string) {
	for t := protocol.FrameType(1); t.String() != "unknown"; t++ {
		names = append(names, t.String())
	}
	return names
}

func decode(frame map[string]any) *protocol.Error {
	b, err := json.Marshal(frame)
	if err != nil {
		panic(err)
	}
	return protocol.Decode(b, new(protocol.ClientFrame))
}

// checkClientFrames: Decode knows the messages that the service receives, reads
// the fields that they have and no others, and needs those that are required.
func checkClientFrames(d *document) []string {
	documented := messages(d, "receive")
	found := differences("client frames", documented, frameTypes())

	fields := map[string]bool{} // of all messages, and of what Decode fills in
	for _, name := range documented {
		for field := range properties(d, name) {
			fields[field] = true
		}
	}
	var filled []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[protocol.ClientFrame]()) {
		filled = append(filled, jsonName(f.Name))
	}
	found = append(found, differences("client frames' fields", sortedKeys(fields), slices.Sorted(slices.Values(filled)))...)

	for _, name := range documented {
		for _, frame := range examples(d, name) {
			if err := decode(frame); err != nil {
				found = append(found, fmt.Sprintf("%s: the example %v is refused: %v", name, frame, err))
			}
		}
		var read, needed []string
		for _, field := range sortedKeys(fields) {
			if reads(d, name, field) {
				read = append(read, field)
			}
			if without := example(d, name, field); decode(without) != nil {
				needed = append(needed, field)
			}
		}
		found = append(found, differences(name+": fields", sortedKeys(properties(d, name)), read)...)
		// Those that only the form of the first example needs stand under then.
		required := append(texts(d.at(append(payload(d, name), "required")...)), texts(d.at(append(payload(d, name), "then", "required")...))...)
		slices.Sort(required)
		found = append(found, differences(name+": required fields", required, needed)...)
	}
	return found
}

// reads tells whether Decode looks at the field in such a frame: then a value
// of the wrong type is refused, or, where any value is right, that there is none, or
// that it is large.
func reads(d *document, message, field string) bool {
	if decode(example(d, message, field)) != nil {
		return true
	}
	for _, frame := range examples(d, message) { // each may be of another form
		frame = maps.Clone(frame)
		for _, wrong := range []any{[]any{}, 7, "x", true, strings.Repeat("x", protocol.MaxAnswerBytes)} {
			frame[field] = wrong
			if decode(frame) != nil {
				return true
			}
		}
	}
	return false
}

// example is the first of the message's, without one field.
func example(d *document, message, without string) map[string]any {
	frame := map[string]any{}
	if list := examples(d, message); len(list) > 0 {
		maps.Copy(frame, list[0])
		delete(frame, without)
	}
	return frame
}

func examples(d *document, message string) (frames []map[string]any) {
	list, _ := d.at("channels", "socket", "messages", message, "examples").([]any)
	for _, e := range list {
		frames = append(frames, d.descend(e, "payload").(map[string]any))
	}
	return frames
}

// jsonName turns RequestID into requestId, and IncludeSenderMetadata into
// includeSenderMetadata.
func jsonName(field string) string {
	field = strings.ReplaceAll(field, "ID", "Id")
	return string(unicode.ToLower(rune(field[0]))) + field[1:]
}

// checkExamples: every message is called what its frames' type says, and has
// examples, which are valid: the linter does not look at them.
func checkExamples(d *document) (found []string) {
	for _, name := range sortedKeys(d.object("channels", "socket", "messages")) {
		list := examples(d, name)
		if len(list) == 0 {
			found = append(found, name+" has no example")
		}
		for what, called := range map[string]any{
			"name": d.at("channels", "socket", "messages", name, "name"),
			"type": d.at(append(payload(d, name), "properties", "type", "const")...),
		} {
			if called != name {
				found = append(found, fmt.Sprintf("the message %s has the %s %v", name, what, called))
			}
		}
		for _, frame := range list {
			b, _ := json.Marshal(frame)
			if err := d.validate(string(b), payload(d, name)...); err != nil {
				found = append(found, fmt.Sprintf("%s: the example %s: %v", name, b, err))
			}
		}
	}
	return found
}

// checkErrorCodes: the codes of error frames are those of the catalogue.
func checkErrorCodes(d *document) []string {
	var real []string
	for _, c := range protocol.Codes() {
		if !restOnly(c) {
			real = append(real, string(c.Code))
		}
	}
	return differences("error codes", texts(d.at(append(payload(d, "error"), "properties", "code", "enum")...)), real)
}

// checkCloseCodes: the table is the code's, word for word.
func checkCloseCodes(d *document) []string {
	line := func(code, when, clientShould, terminal any) string {
		return fmt.Sprintf("%v, sent %v; %v (terminal: %v)", code, when, clientShould, terminal)
	}
	var documented, real []string
	list, _ := d.at("channels", "socket", "x-close-codes").([]any)
	for _, item := range list {
		c, _ := item.(map[string]any)
		documented = append(documented, line(c["code"], c["when"], c["clientShould"], c["terminal"]))
	}
	for _, c := range protocol.CloseCodes() {
		real = append(real, line(c.Code, c.When, c.ClientShould, c.Terminal))
	}
	return differences("close codes", documented, real)
}

// checkSocketLimits: the bounds in the schemas and in the words are the code's.
func checkSocketLimits(d *document) []string {
	schema := func(name, bound string) []string { return []string{"components", "schemas", name, bound} }
	info := []string{"info", "description"}
	usual := apps.DefaultLimits()
	found := compare(d, []limit{
		{schema("RequestID", "maxLength"), protocol.MaxRequestIDBytes},
		{schema("PeerID", "maxLength"), protocol.MaxPeerIDBytes},
		{schema("ChannelName", "maxLength"), channel.MaxBytes},
		{schema("ChannelPattern", "maxLength"), channel.MaxBytes},
		{[]string{"components", "schemas", "Will", "properties", "delayMs", "maximum"}, protocol.MaxWillDelayMs},
		{schema("Offset", "maximum"), protocol.MaxOffset},
		{[]string{"components", "schemas", "Subscribe", "properties", "last", "maximum"}, protocol.MaxLast},
		{[]string{"components", "schemas", "Publish", "properties", "idempotencyKey", "maxLength"}, protocol.MaxIdempotencyKeyBytes},
	})
	return append(found, says(d, map[string][]string{
		fmt.Sprintf("at most %d KiB (%d bytes)", protocol.MaxFrameBytes>>10, protocol.MaxFrameBytes):                    info,
		fmt.Sprintf("every %.0f s", protocol.PingInterval.Seconds()):                                                    info,
		fmt.Sprintf("after %.0f s", protocol.InactivityLimit.Seconds()):                                                 info,
		fmt.Sprintf("%d subscriptions", protocol.MaxSubscriptions):                                                      info,
		fmt.Sprintf("%d frames a second, %d in a burst", usual.ConnectionMessagesPerSec, usual.ConnectionMessagesBurst): info,
		fmt.Sprintf("at most %d KiB", protocol.MaxPeerMetadataBytes>>10):                                                {"components", "schemas", "Metadata", "description"},
		fmt.Sprintf("at most %d KiB, null included", protocol.MaxWillBytes>>10):                                         {"components", "schemas", "Will", "properties", "data", "description"},
	})...)
}

var asyncAPIChecks = []func(*document) []string{
	checkClientFrames, checkServerFrames, checkExamples, checkErrorCodes, checkCloseCodes, checkSocketLimits,
}

func TestAsyncAPI(t *testing.T) { runChecks(t, asyncAPI, asyncAPIChecks) }

// Each of these mistakes is one that the linter does not see.
func TestAsyncAPIMistakes(t *testing.T) {
	seed(t, asyncAPIChecks, []mistake{
		{"a frame of another name", asyncAPI, "      name: unsubscribe\n", "      name: leave\n"},
		{"a frame that nobody sends", asyncAPI, "messages: [{ $ref: \"#/channels/socket/messages/welcome\" }]", "messages: [{ $ref: \"#/channels/socket/messages/ping\" }]"},
		{"a frame in the wrong direction", asyncAPI, "action: receive\n    summary: Publish to a channel", "action: send\n    summary: Publish to a channel"},
		{"a field of another name", asyncAPI, "        includeSenderMetadata:\n          type: boolean", "        senderMetadata:\n          type: boolean"},
		{"a field too many in a client frame", asyncAPI, "type: { type: string, const: ping }\n", "type: { type: string, const: ping }\n        requestId: { $ref: \"#/components/schemas/RequestID\" }\n"},
		{"a field too few in a client frame", asyncAPI, "        includeSenderMetadata:\n          type: boolean\n          default: false\n          description: Whether messages shall come with fromMetadata.\n", ""},
		{"a field that may be missing, required", asyncAPI, "required: [type, channel]", "required: [type, channel, requestId]"},
		{"a required field, optional", asyncAPI, "required: [type, channel, data]", "required: [type, channel]"},
		{"a required field of one form, optional", asyncAPI, "then: { required: [data] }", "then: { required: [] }"},
		{"a field too few in a server frame", asyncAPI, "        maxMessageSize:\n          type: integer\n", "        maxMessage:\n          type: integer\n"},
		{"a server's field of another type", asyncAPI, "          type: integer\n          minimum: 0\n          description: >-\n            When to connect again", "          type: string\n          minimum: 0\n          description: >-\n            When to connect again"},
		{"a server's field that may be null, never null", asyncAPI, `type: [integer, "null"]`, `type: integer`},
		{"a server's optional field, required", asyncAPI, "required: [type, channel, from, data]", "required: [type, channel, from, fromMetadata, data]"},
		{"a server's required field, optional", asyncAPI, "required: [type, code, message]", "required: [type, code]"},
		{"an example that is wrong", asyncAPI, "payload: { type: pong }", "payload: { type: ping }"},
		{"an error code too few", asyncAPI, "        - unknown_type\n", ""},
		{"an error code of REST alone", asyncAPI, "        - unknown_type\n", "        - unknown_type\n        - rate_limited\n"},
		{"a close code too few", asyncAPI, "      - code: 4011", "      - code: 4013"},
		{"a close code that is not final", asyncAPI, "clientShould: \"stop; only the service's operator can lift it\"\n        terminal: true", "clientShould: \"stop; only the service's operator can lift it\"\n        terminal: false"},
		{"another bound", asyncAPI, "maxLength: 128", "maxLength: 64"},
		{"another bound in words", asyncAPI, "(65536 bytes)", "(32768 bytes)"},
		{"another time in words", asyncAPI, "every 25 s", "every 30 s"},
	})
}

// What Decode refuses for its shape, the schemas refuse as well; and what the
// schemas refuse, somebody in the service does.
func TestHostileClientFrames(t *testing.T) {
	d := load(t, asyncAPI)
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ name, message, frame string }{
		{"no object", "subscribe", `["subscribe"]`},
		{"no type", "subscribe", `{"channel":"a"}`},
		{"type that is no string", "subscribe", `{"type":["subscribe"],"channel":"a"}`},
		{"type in capitals", "subscribe", `{"type":"SUBSCRIBE","channel":"a"}`},
		{"another frame's type", "subscribe", `{"type":"unsubscribed","channel":"a"}`},
		{"channel that is no string", "subscribe", `{"type":"subscribe","channel":{"a":1}}`},
		{"null for a channel", "publish", `{"type":"publish","channel":null,"data":1}`},
		{"no channel", "unsubscribe", `{"type":"unsubscribe"}`},
		{"a number for a flag", "subscribe", `{"type":"subscribe","channel":"a","includeSenderMetadata":1}`},
		{"null for a flag", "subscribe", `{"type":"subscribe","channel":"a","includeSenderMetadata":null}`},
		{"no data", "publish", `{"type":"publish","channel":"a"}`},
		{"an empty requestId", "publish", `{"type":"publish","channel":"a","data":1,"requestId":""}`},
		{"a long requestId", "publish", `{"type":"publish","channel":"a","data":1,"requestId":"` + long + `"}`},
		{"a number for a requestId", "unsubscribe", `{"type":"unsubscribe","channel":"a","requestId":1}`},
		{"null for a requestId", "unsubscribe", `{"type":"unsubscribe","channel":"a","requestId":null}`},
		{"nobody to send to", "send", `{"type":"send","data":1}`},
		{"a list of whom to send to", "send", `{"type":"send","to":["a"],"data":1}`},
		{"nothing to send", "send", `{"type":"send","to":"a"}`},
		{"commands that are no word", "subscribe", `{"type":"subscribe","channel":"a","commands":true}`},
		{"another word for commands", "subscribe", `{"type":"subscribe","channel":"a","commands":"receive"}`},
		{"a position as text", "subscribe", `{"type":"subscribe","channel":"a","since":"a:1"}`},
		{"a position without an offset", "subscribe", `{"type":"subscribe","channel":"a","since":{"epoch":"a"}}`},
		{"an epoch that is no word", "subscribe", `{"type":"subscribe","channel":"a","since":{"epoch":"a-b","offset":1}}`},
		{"an offset below 0", "subscribe", `{"type":"subscribe","channel":"a","since":{"epoch":"a","offset":-1}}`},
		{"fewer than none of the last", "subscribe", `{"type":"subscribe","channel":"a","last":-1}`},
		{"too many of the last", "subscribe", `{"type":"subscribe","channel":"a","last":1001}`},
		{"since and last", "subscribe", `{"type":"subscribe","channel":"a","last":1,"since":{"epoch":"a","offset":1}}`},
		{"an empty idempotencyKey", "publish", `{"type":"publish","channel":"a","data":1,"idempotencyKey":""}`},
		{"a long idempotencyKey", "publish", `{"type":"publish","channel":"a","data":1,"idempotencyKey":"` + long + `"}`},
		{"text for ifOffset", "publish", `{"type":"publish","channel":"a","data":1,"ifOffset":"1"}`},
		{"a large ifOffset", "publish", `{"type":"publish","channel":"a","data":1,"ifOffset":9007199254740992}`},
		{"ifEpoch alone", "publish", `{"type":"publish","channel":"a","data":1,"ifEpoch":"a"}`},
		{"no command", "answer", `{"type":"answer"}`},
		{"a number for a command", "answer", `{"type":"answer","command":1}`},
		{"a status of the service's", "answer", `{"type":"answer","command":"cmd_1","status":"timed_out"}`},
		{"null for a status", "answer", `{"type":"answer","command":"cmd_1","status":null}`},
		{"no channel for a will", "will", `{"type":"will","data":1}`},
		{"a number for a will's channel", "will", `{"type":"will","channel":1,"data":1}`},
		{"a will without data", "will", `{"type":"will","channel":"a"}`},
		{"a delay that is text", "will", `{"type":"will","channel":"a","data":1,"delayMs":"5"}`},
		{"null for a delay", "will", `{"type":"will","channel":"a","data":1,"delayMs":null}`},
		{"a delay under 0", "will", `{"type":"will","channel":"a","data":1,"delayMs":-1}`},
		{"a delay over a day", "will", `{"type":"will","channel":"a","data":1,"delayMs":86400001}`},
		{"half a millisecond", "will", `{"type":"will","channel":"a","data":1,"delayMs":0.5}`},
		{"no token", "refresh", `{"type":"refresh"}`},
		{"null for a token", "refresh", `{"type":"refresh","token":null}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := protocol.Decode([]byte(tt.frame), new(protocol.ClientFrame)); err == nil {
				t.Errorf("Decode takes %s", tt.frame)
			}
			if err := d.validate(tt.frame, payload(d, tt.message)...); err == nil {
				t.Errorf("the schema of %s takes %s", tt.message, tt.frame)
			}
		})
	}
	// Names and ids are not Decode's affair.
	for _, tt := range []struct {
		name, message, frame string
		refused              bool
	}{
		{"a long channel", "publish", `{"type":"publish","channel":"` + long + `","data":1}`, channel.ValidateName(long) != nil},
		{"an empty channel", "publish", `{"type":"publish","channel":"","data":1}`, channel.ValidateName("") != nil},
		{"a control character", "publish", `{"type":"publish","channel":"a\u0085","data":1}`, channel.ValidateName("a\u0085") != nil},
		{"a long peer id", "send", `{"type":"send","to":"` + long + `","data":1}`, !protocol.ValidPeerID(long)},
		{"a peer id that is not ASCII", "send", `{"type":"send","to":"ü","data":1}`, !protocol.ValidPeerID("ü")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := d.validate(tt.frame, payload(d, tt.message)...); err == nil || !tt.refused {
				t.Errorf("refused by the service: %v; by the schema: %v", tt.refused, err)
			}
		})
	}
}
