package doctor

import (
	"context"
	"fmt"
)

// fewFiles is what a node needs for some thousand devices.
const fewFiles = 10_000

// files looks at this machine's limit.
func (d *Doctor) files(context.Context) {
	most, ok := openFiles()
	if !ok {
		d.tell("open files here", Skipped, "this system does not say", "")
		return
	}
	d.fileLimit("open files here", most, 0)
}

// fileLimit judges a limit. Each device takes a file.
func (d *Doctor) fileLimit(check string, most, used float64) {
	found := fmt.Sprintf("at most %.0f", most)
	if used > 0 {
		found += fmt.Sprintf(", %.0f are open", used)
	}
	switch {
	case used > most*0.8:
		d.tell(check, Warning, found, "start another node, or raise LimitNOFILE (systemd), ulimits (compose) or ulimit -n: each device takes a file")
	case most < fewFiles:
		d.tell(check, Warning, found, "before a node is to run with many devices, raise LimitNOFILE (systemd), ulimits (compose) or ulimit -n: each device takes a file")
	default:
		d.tell(check, OK, found, "")
	}
}
