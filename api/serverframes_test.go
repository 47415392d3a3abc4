package api

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

// serverFrame is a frame as the service writes it.
type serverFrame struct {
	writer string // the function, or constant, of clients/go/protocol
	name   string // of the message in the document
	least  []byte // with as few fields as there can be
	most   []byte // with all that there can be
}

const commandID = "cmd_021qk5zb3d7mxw4yhj2v6ta5rncex"

var someError = &protocol.Error{Code: protocol.InvalidChannel}

var somePosition = protocol.Position{Epoch: strings.Repeat("Z", protocol.MaxEpochBytes), Offset: protocol.MaxOffset}

var serverFrames = []serverFrame{
	{"AppendWelcome", "welcome",
		protocol.AppendWelcome(nil, protocol.Welcome{PeerID: "anon_1", ServerTime: 1767222000, MaxMessageSize: protocol.MaxFrameBytes}),
		protocol.AppendWelcome(nil, protocol.Welcome{PeerID: "a", ExpiresAt: 1767225600, ServerTime: 1767222000, MaxMessageSize: 1, Metadata: []byte(`{"a":[1]}`)})},
	{"AppendAck", "ack", protocol.AppendAck(nil, "1"), protocol.AppendAck(nil, strings.Repeat("ü", 64))},
	{"AppendError", "error", protocol.AppendError(nil, "", someError), protocol.AppendError(nil, "1", protocol.Errorf(protocol.BackendError, "say"))},
	{"AppendMessage", "message", protocol.AppendMessage(nil, "a/b", "p", nil, []byte("null")), protocol.AppendMessage(nil, "ü", "p q", []byte(`{}`), []byte(`[1.0]`))},
	{"AppendRemembered", "message", protocol.AppendRemembered(nil, "a/b", "p", nil, []byte("null"), 1, false), protocol.AppendRemembered(nil, "ü", "p q", []byte(`{}`), []byte(`[1.0]`), 1<<53, true)},
	{"AppendCommand", "message", protocol.AppendCommand(nil, protocol.AppendMessage(nil, "a/b", "p", nil, []byte("null")), protocol.CommandRef{ID: commandID, Attempt: 1, ExpiresInMs: -1, TimeoutMs: 1000}),
		protocol.AppendCommand(nil, protocol.AppendMessage(nil, "a/b", "p", nil, []byte("null")), protocol.CommandRef{ID: commandID, Attempt: 5, TimeoutMs: 1000})},
	{"AppendGroupMessage", "message", protocol.AppendGroupMessage(nil, "a/b", "p", nil, []byte("null"), protocol.GroupDelivery{Group: "g", AckID: "a", Attempt: 1}),
		protocol.AppendGroupMessage(nil, "ü", "p q", []byte(`{}`), []byte(`[1.0]`), protocol.GroupDelivery{Group: "ingest", AckID: "a-_", PublishedAt: 1767222000123, Attempt: 100})},
	{"AppendGroupError", "error", protocol.AppendGroupError(nil, &protocol.Error{Code: protocol.GroupNotFound}, "g"), protocol.AppendGroupError(nil, protocol.Errorf(protocol.GroupNotFound, "say"), "ingest")},
	{"AppendGroupAck", "ack", protocol.AppendGroupAck(nil, "1", nil), protocol.AppendGroupAck(nil, "1", []string{"a", "b"})},
	{"AppendCommandCancelled", "command_cancelled", protocol.AppendCommandCancelled(nil, commandID), protocol.AppendCommandCancelled(nil, commandID)},
	{"AppendDirect", "direct", protocol.AppendDirect(nil, "p", nil, []byte("7")), protocol.AppendDirect(nil, "p q", []byte(`{"a":{}}`), []byte(`"ü"`))},
	{"AppendPresence", "presence", protocol.AppendPresence(nil, "a/b", nil, nil),
		protocol.AppendPresence(nil, "ü", []protocol.PresencePeer{{PeerID: "p q", Metadata: `{"a":{}}`}, {PeerID: "q"}}, []protocol.PresencePeer{{PeerID: "r", Metadata: `{}`}})},
	{"AppendRefreshed", "ack", protocol.AppendRefreshed(nil, "1", 1767225600, nil), protocol.AppendRefreshed(nil, "1", 1767225600, []string{"a/b", "devices/*"})},
	{"AppendAckAt", "ack", protocol.AppendAckAt(nil, "1", protocol.Position{Epoch: "a"}), protocol.AppendAckAt(nil, "1", somePosition)},
	{"AppendRecovered", "ack", protocol.AppendRecovered(nil, "1", protocol.Position{}, false), protocol.AppendRecovered(nil, "1", somePosition, true)},
	{"AppendErrorAt", "error", protocol.AppendErrorAt(nil, "", &protocol.Error{Code: protocol.OffsetMismatch}, protocol.Position{Epoch: "a"}),
		protocol.AppendErrorAt(nil, "1", protocol.Errorf(protocol.OffsetMismatch, "say"), somePosition)},
	{"AppendGap", "gap", protocol.AppendGap(nil, "a/b", protocol.Position{Epoch: "a"}), protocol.AppendGap(nil, "ü", somePosition)},
	{"AppendGoingAway", "going_away", protocol.AppendGoingAway(nil, 0), protocol.AppendGoingAway(nil, 1500)},
	{"Pong", "pong", []byte(protocol.Pong), []byte(protocol.Pong)},
}

// noFrames are exported functions of clients/go/protocol that append something else:
// parts, bodies of REST, frames of WebSocket's own.
var noFrames = []string{"AppendString", "AppendErrorBody", "AppendTextFrame", "AppendTextHeader", "AppendCloseFrame", "AppendPongFrame"}

// writers are the functions and constants of clients/go/protocol that are or write
// server frames.
func writers() (names []string) {
	files, err := filepath.Glob("../clients/go/protocol/*.go")
	if err != nil {
		panic(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			panic(err)
		}
		for _, declared := range file.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Append") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return append(names, "Pong")
}

// checkServerFrames: all frames that clients/go/protocol writes are described, and
// nothing else is; each is valid, and has the fields that its schema says.
func checkServerFrames(d *document) (found []string) {
	known := append([]string{}, noFrames...)
	names, optional, required := map[string]bool{}, map[string]map[string]bool{}, map[string]map[string]int{}
	variants := map[string]int{}
	for _, f := range serverFrames {
		known = append(known, f.writer)
		names[f.name] = true
		if optional[f.name] == nil {
			optional[f.name], required[f.name] = map[string]bool{}, map[string]int{}
		}
		for _, frame := range [][]byte{f.least, f.most} {
			if err := d.validate(string(frame), payload(d, f.name)...); err != nil {
				found = append(found, fmt.Sprintf("%s: %s: %v", f.name, frame, err))
			}
			variants[f.name]++
			for field := range keys(frame) {
				optional[f.name][field] = true
				required[f.name][field]++
			}
		}
	}
	found = append(found, differences("what writes frames", known, writers())...)
	found = append(found, differences("server frames", messages(d, "send"), sortedKeys(names))...)
	for name := range names {
		found = append(found, differences(name+": fields", sortedKeys(properties(d, name)), sortedKeys(optional[name]))...)
		var always []string
		for field, n := range required[name] {
			if n == variants[name] {
				always = append(always, field)
			}
		}
		found = append(found, differences(name+": required fields", texts(d.at(append(payload(d, name), "required")...)), always)...)
	}
	return found
}

func keys(frame []byte) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(frame, &fields); err != nil {
		panic(fmt.Sprintf("%s: %v", frame, err))
	}
	return fields
}

// What no node sends is none of the frames: a client that checks frames against
// the schemas can rely on each of these.
func TestHostileServerFrames(t *testing.T) {
	d := load(t, asyncAPI)
	for _, tt := range []struct{ name, message, frame string }{
		{"an ack without a requestId", "ack", `{"type":"ack"}`},
		{"an ack for null", "ack", `{"type":"ack","requestId":null}`},
		{"half a refresh's ack", "ack", `{"type":"ack","requestId":"1","expiresAt":1}`},
		{"an epoch without an offset", "ack", `{"type":"ack","requestId":"1","epoch":"a"}`},
		{"an offset without an epoch", "ack", `{"type":"ack","requestId":"1","offset":1}`},
		{"an epoch that is no word", "ack", `{"type":"ack","requestId":"1","epoch":"a-b","offset":1}`},
		{"a mismatch without an epoch", "error", `{"type":"error","code":"offset_mismatch","message":"x","offset":1}`},
		{"a gap without a position", "gap", `{"type":"gap","channel":"a"}`},
		{"a gap at no number", "gap", `{"type":"gap","channel":"a","epoch":"a","offset":"1"}`},
		{"an error with a code of REST", "error", `{"type":"error","code":"rate_limited","message":"x"}`},
		{"an error that says nothing", "error", `{"type":"error","code":"unknown_type","message":""}`},
		{"a message from nobody", "message", `{"type":"message","channel":"a","data":1}`},
		{"a message without data", "message", `{"type":"message","channel":"a","from":"p"}`},
		{"a message with null for metadata", "message", `{"type":"message","channel":"a","from":"p","fromMetadata":null,"data":1}`},
		{"a command without a timeout", "message", `{"type":"message","channel":"a","from":"p","data":1,"command":{"id":"` + commandID + `","attempt":1}}`},
		{"a command by another id", "message", `{"type":"message","channel":"a","from":"p","data":1,"command":{"id":"cmd_1","attempt":1,"timeoutMs":1000}}`},
		{"no command cancelled", "command_cancelled", `{"type":"command_cancelled"}`},
		{"a direct message without data", "direct", `{"type":"direct","from":"p"}`},
		{"presence without left", "presence", `{"type":"presence","channel":"a","joined":[]}`},
		{"presence of names alone", "presence", `{"type":"presence","channel":"a","joined":["p"],"left":[]}`},
		{"presence with null for metadata", "presence", `{"type":"presence","channel":"a","joined":[{"peerId":"p","metadata":null}],"left":[]}`},
		{"a welcome without expiresAt", "welcome", `{"type":"welcome","peerId":"p","serverTime":1,"maxMessageSize":1}`},
		{"a welcome with a date", "welcome", `{"type":"welcome","peerId":"p","expiresAt":"2026-01-01","serverTime":1,"maxMessageSize":1}`},
		{"going away at no time", "going_away", `{"type":"going_away"}`},
		{"a ping for a pong", "pong", `{"type":"ping"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := d.validate(tt.frame, payload(d, tt.message)...); err == nil {
				t.Errorf("the schema of %s takes %s", tt.message, tt.frame)
			}
		})
	}
}
