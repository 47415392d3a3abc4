package program

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Version and commit of a release, which `make release` links in: VERSION may name a version that
// has no tag yet, and Go records only what git says.
var linkedVersion, linkedCommit string

// versionLine says which build a program is: "fanout v1.2.3 commit 0123abcd… go1.26.8".
// The version is "devel", and the commit "unknown", where Go did not record them;
// "+dirty" marks a commit whose checkout had changes. info is nil for a binary that was
// built without modules.
func versionLine(name string, info *debug.BuildInfo) string {
	version, commit, dirty := parts(info)
	return name + " " + version + " commit " + commit + dirty + " " + runtime.Version()
}

// Version is the version of this program, such as v1.2.3, or "devel" and its commit.
func Version() string {
	info, _ := debug.ReadBuildInfo()
	version, commit, dirty := parts(info)
	if version == devel {
		return version + " " + commit[:min(len(commit), 12)] + dirty
	}
	return version
}

// devel is the version of a build that has none.
const devel = "devel"

func parts(info *debug.BuildInfo) (version, commit, dirty string) {
	if linkedVersion != "" {
		return linkedVersion, linkedCommit, ""
	}
	commit = "unknown"
	if info != nil {
		version = strings.Trim(info.Main.Version, "()")
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+dirty"
			}
		}
	}
	if version == "" {
		version = devel
	}
	return version, commit, dirty
}
