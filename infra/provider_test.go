package infra

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// A provider is one process of the aws provider, which serves every terraform that
// the tests run. Terraform would start one for each step of each run, dozens of
// times; the binary has 700 MB, and starting it takes longer than most steps.
type provider struct {
	cmd      *exec.Cmd
	stdin    io.Closer
	reattach string // for TF_REATTACH_PROVIDERS
}

// untilClosed runs a program until standard input ends: also when the tests are
// killed and can end nothing themselves.
const untilClosed = `"$0" "$@" </dev/null & while read -r _; do :; done; kill $!; wait $!`

// startProvider starts the provider that `terraform init` put into dir, in the mode
// that is meant for debuggers.
func startProvider(dir string) (*provider, error) {
	found, _ := filepath.Glob(filepath.Join(dir, ".terraform/providers/registry.terraform.io/hashicorp/aws/*/*/terraform-provider-aws_*"))
	if len(found) != 1 {
		return nil, fmt.Errorf("terraform init left %d aws providers in %s, want 1: %q", len(found), dir, found)
	}
	p := &provider{cmd: exec.Command("sh", "-c", untilClosed, found[0], "-debug")}
	p.cmd.Env = environment()
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	var said strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if _, value, ok := strings.Cut(lines.Text(), "TF_REATTACH_PROVIDERS='"); ok {
			p.reattach = strings.TrimSuffix(value, "'")
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return p, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("the aws provider did not say how to reach it:\n%s", said.String()), lines.Err(), p.stop())
}

// stop ends the process.
func (p *provider) stop() error {
	err := p.stdin.Close()
	_ = p.cmd.Wait() // ended by a signal, as it should be
	return err
}
