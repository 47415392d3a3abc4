package protocol

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// constants returns the names of the constants that file declares with the type typ.
func constants(t *testing.T, file, typ string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == typ {
				for _, name := range spec.Names {
					names = append(names, name.Name)
				}
			}
		}
		return true
	})
	return names
}

// Protocol §4.4 and §5, written down a second time.
func TestErrorCatalogueIsTheProtocols(t *testing.T) {
	want := map[Code]int{
		// §4.4 alone
		"malformed_message": 400, "unknown_type": 400, "channel_limit_exceeded": 403, "peer_not_found": 404,
		"invalid_token": 401, "internal_error": 500,
		// §4.4 and §5
		"invalid_channel": 400, "invalid_peer_id": 400, "channel_reserved": 400, "missing_data": 400,
		"command_not_found": 404, "command_final": 409,
		"channel_not_authorized": 403, "action_not_permitted": 403, "over_message_quota": 429, "backend_error": 503, "group_full": 429,
		// §5 alone
		"invalid_request": 400, "unauthorized": 401, "account_suspended": 403, "not_found": 404,
		"method_not_allowed": 405, "rate_limited": 429,
		"nobody_subscribed": 409, "idempotency_conflict": 409, "queue_full": 429, "offset_mismatch": 412, "group_not_found": 404,
	}
	seen := map[Code]bool{}
	for _, info := range Codes() {
		if seen[info.Code] {
			t.Errorf("%s is there twice", info.Code)
		}
		seen[info.Code] = true
		if status, ok := want[info.Code]; !ok {
			t.Errorf("%s is not in the protocol", info.Code)
		} else if info.Code.HTTPStatus() != status || info.HTTPStatus != status {
			t.Errorf("%s: status %d, table %d, want %d", info.Code, info.Code.HTTPStatus(), info.HTTPStatus, status)
		}
		if info.Sentence == "" || info.Meaning == "" || info.Code.Sentence() != info.Sentence {
			t.Errorf("%s: sentence %q and meaning %q must be there", info.Code, info.Sentence, info.Meaning)
		}
	}
	for code := range want {
		if !seen[code] {
			t.Errorf("%s is missing", code)
		}
	}
	if declared := constants(t, "errors.go", "Code"); len(declared) != len(seen) {
		t.Errorf("%d constants are declared, %d codes are in the table: %v", len(declared), len(seen), declared)
	}
}

func TestCodeOutsideTheCatalogue(t *testing.T) {
	if c := Code("no_such_code"); c.HTTPStatus() != 500 || c.Sentence() != "" {
		t.Errorf("status %d and sentence %q, want 500 and none", c.HTTPStatus(), c.Sentence())
	}
}

func TestTablesAreCopies(t *testing.T) {
	Codes()[0].HTTPStatus = 200
	CloseCodes()[0].Reason = "changed"
	if Codes()[0].HTTPStatus == 200 || CloseCodes()[0].Reason == "changed" {
		t.Error("a caller can change the table")
	}
}

func TestErrorText(t *testing.T) {
	var err error = Errorf(InvalidChannel, "channel is %d bytes long", 300)
	if got, want := err.Error(), "invalid_channel: channel is 300 bytes long"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&Error{Code: MissingData}).Error(), "missing_data: data is missing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Protocol §4.5, and what RFC 6455 needs besides, written down a second time. Terminal are those at which
// the published JavaScript client stops, and the close that a client asked for.
func TestCloseCodesAreTheProtocols(t *testing.T) {
	terminal := map[CloseCode]bool{
		1000: true, 1001: false, 1002: false, 1007: false, 1008: false, 1009: false, 1011: false, 1013: false,
		4000: false, 4001: true, 4002: false, 4003: true, 4010: false, 4011: false, 4012: true, 4020: true,
	}
	var seen []CloseCode
	reasons := map[string]CloseCode{}
	for _, info := range CloseCodes() {
		seen = append(seen, info.Code)
		if want, ok := terminal[info.Code]; !ok {
			t.Errorf("%d is not in the protocol", info.Code)
		} else if info.Terminal != want || info.Code.Terminal() != want {
			t.Errorf("%d: terminal %v, want %v", info.Code, info.Terminal, want)
		}
		if info.When == "" || info.ClientShould == "" {
			t.Errorf("%d: when %q and what a client should do %q must be there", info.Code, info.When, info.ClientShould)
		}
		if n := len(info.Reason); n == 0 || n > MaxCloseReasonBytes || !utf8.ValidString(info.Reason) {
			t.Errorf("%d: reason %q has %d bytes, want 1 to %d of valid UTF-8", info.Code, info.Reason, n, MaxCloseReasonBytes)
		}
		if info.Code.Reason() != info.Reason {
			t.Errorf("%d: Reason() is %q, the table says %q", info.Code, info.Code.Reason(), info.Reason)
		}
		if other, ok := reasons[info.Reason]; ok {
			t.Errorf("%d and %d have the same reason %q", other, info.Code, info.Reason)
		}
		reasons[info.Reason] = info.Code
	}
	if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
		t.Errorf("the codes must ascend, each once: %d", seen)
	}
	for code := range terminal {
		if !slices.Contains(seen, code) {
			t.Errorf("%d is missing", code)
		}
	}
	if declared := constants(t, "closecodes.go", "CloseCode"); len(declared) != len(seen) {
		t.Errorf("%d constants are declared, %d codes are in the table: %v", len(declared), len(seen), declared)
	}
}

func TestCloseCodeOutsideTheTable(t *testing.T) {
	if c := CloseCode(4999); c.Terminal() || c.Reason() != "" {
		t.Errorf("terminal %v and reason %q, want neither", c.Terminal(), c.Reason())
	}
}

func TestClosef(t *testing.T) {
	tests := []struct {
		name, reason, want string
	}{
		{"short", "token is for %s", "token is for %s"},
		{"as long as allowed", strings.Repeat("a", 123), strings.Repeat("a", 123)},
		{"one byte too long", strings.Repeat("a", 124), strings.Repeat("a", 123)},
		{"cut between two-byte characters", strings.Repeat("é", 62), strings.Repeat("é", 61)},
		{"cut between four-byte characters", strings.Repeat("😀", 31), strings.Repeat("😀", 30)},
		{"cut before a character that would just not fit", strings.Repeat("a", 121) + "€b", strings.Repeat("a", 121)},
		{"a character that just fits", strings.Repeat("a", 120) + "€b", strings.Repeat("a", 120) + "€"},
		{"invalid UTF-8", "a\xff\xfeb", "a\uFFFDb"},
		{"invalid UTF-8 that grows past the bound", strings.Repeat("\xffa", 40), strings.Repeat("\uFFFDa", 30) + "\uFFFD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Closef(ClosePolicy, "%s", tt.reason); got.Code != ClosePolicy || got.Reason != tt.want {
				t.Errorf("got %d %q (%d bytes), want %q", got.Code, got.Reason, len(got.Reason), tt.want)
			}
		})
	}
}

func TestCloseErrorText(t *testing.T) {
	var err error = Closef(ClosePolicy, ReasonSlowConsumer)
	if got, want := err.Error(), "close 1008: slow consumer"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&CloseError{Code: CloseExpired}).Error(), "close 4002: token expired"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestValidPeerID(t *testing.T) {
	tests := []struct {
		name, id string
		want     bool
	}{
		{"empty", "", false},
		{"one character", "a", true},
		{"all that is printable", " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true},
		{"128 bytes", strings.Repeat("a", 128), true},
		{"129 bytes", strings.Repeat("a", 129), false},
		{"U+001F", "a\x1f", false},
		{"NUL", "\x00", false},
		{"DEL", "a\x7f", false},
		{"not ASCII", "é", false},
		{"invalid UTF-8", "\xff", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ValidPeerID(tt.id); got != tt.want {
				t.Errorf("ValidPeerID(%q) = %v, want %v", tt.id, got, tt.want)
			}
		})
	}
}
