package protocol

import "testing"

func TestAppendCommand(t *testing.T) {
	message := AppendMessage(nil, "c", "server", nil, []byte(`{"cmd":"reboot"}`))
	for want, ref := range map[string]CommandRef{
		`{"type":"message","channel":"c","from":"server","data":{"cmd":"reboot"},"command":{"id":"cmd_1","attempt":1,"timeoutMs":30000}}`:                {"cmd_1", 1, -1, 30000},
		`{"type":"message","channel":"c","from":"server","data":{"cmd":"reboot"},"command":{"id":"cmd_1","attempt":5,"expiresInMs":0,"timeoutMs":1000}}`: {"cmd_1", 5, 0, 1000},
	} {
		if got := string(AppendCommand(nil, message, ref)); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if got := string(AppendCommandCancelled(nil, "cmd_1")); got != `{"type":"command_cancelled","command":"cmd_1"}` {
		t.Error(got)
	}
}
