package program

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionLine(t *testing.T) {
	vcs := func(version, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{
			Main:     debug.Module{Path: "fleetwire", Version: version},
			Settings: []debug.BuildSetting{{Key: "-trimpath", Value: "true"}, {Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "91dee20c"}, {Key: "vcs.modified", Value: modified}},
		}
	}
	for _, tt := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"go build in a checkout of a tag", vcs("v1.2.3", "false"), "fanout v1.2.3 commit 91dee20c "},
		{"go build in a changed checkout", vcs("v0.0.0-20261126060353-91dee20c+dirty", "true"), "fanout v0.0.0-20261126060353-91dee20c+dirty commit 91dee20c+dirty "},
		{"go install of a version", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "fanout v1.2.3 commit unknown "},
		{"-buildvcs=false", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "fanout devel commit unknown "},
		{"a test binary", &debug.BuildInfo{}, "fanout devel commit unknown "},
		{"without build information", nil, "fanout devel commit unknown "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := versionLine("fanout", tt.info); got != tt.want+runtime.Version() {
				t.Errorf("got %q, want %q and Go's version", got, tt.want)
			}
		})
	}
}

// A version that was linked in is shown in place of the one that Go recorded.
func TestVersionLineOfARelease(t *testing.T) {
	linkedVersion, linkedCommit = "v1.2.3", "91dee20c"
	defer func() { linkedVersion, linkedCommit = "", "" }()
	info := &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.modified", Value: "true"}}}
	if got, want := versionLine("fanout", info), "fanout v1.2.3 commit 91dee20c "+runtime.Version(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
