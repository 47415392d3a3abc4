package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// most is how many lines a program in a README may have, empty ones and its name aside.
const most = 20

// readmePrograms are the programs of a README, as they stand there: the blocks of a language
// that begin with a comment, their file's name. They are written into a new directory.
func readmePrograms(t *testing.T, readme, language, comment string) (dir string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, block := range blocks(string(text), language) {
		first, code, _ := strings.Cut(block, "\n")
		name, named := strings.CutPrefix(first, comment+" ")
		if !named || strings.ContainsAny(name, " /") {
			continue
		}
		lines := 0
		for line := range strings.Lines(code) {
			if strings.TrimSpace(line) != "" {
				lines++
			}
		}
		if lines > most {
			t.Errorf("%s: %s has %d lines; at most %d", readme, name, lines, most)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// blocks are the fenced blocks of a language.
func blocks(text, language string) (found []string) {
	for _, part := range strings.Split(text, "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```\n")
		found = append(found, block+"\n")
	}
	return found
}

// readmeStory is what the README's first console block shows: the commands without their
// prompts and &, and all lines that the programs print.
func readmeStory(t *testing.T, readme string) (commands, printed []string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(blocks(string(text), "console")[0]) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			commands = append(commands, strings.TrimSuffix(command, " &"))
		} else {
			printed = append(printed, line)
		}
	}
	return commands, printed
}

// tellStory runs the commands of a README's story in dir, beside a localdev as make run starts
// it, and wants what the README shows. The last command is awaited; the others go on until
// the end. interpreter runs programs in the place of the first word of each command.
func tellStory(t *testing.T, readme, dir, interpreter string, env ...string) {
	t.Helper()
	service := startLocaldev(t, t.TempDir())
	credential := service.says("secret key ")
	port := redistest.FreePort(t)
	env = append(env, "FLEETWIRE_URL=http://"+service.addr, "FLEETWIRE_SECRET_KEY="+credential,
		"PORT="+strconv.Itoa(port), "TOKENS=http://127.0.0.1:"+strconv.Itoa(port), "PYTHONUNBUFFERED=1")
	commands, want := readmeStory(t, readme)
	var programs []*program
	for i, command := range commands {
		p := startProgram(t, dir, env, interpreter, strings.Fields(command)[1:]...)
		programs = append(programs, p)
		if i == len(commands)-1 {
			<-p.exited
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("%s ended with exit code %d", command, code)
			}
		} else if strings.Contains(command, "device") {
			p.await(t, "ready")
		}
	}
	slices.Sort(want)
	var got []string
	redistest.Eventually(t, patience, "the programs print "+strings.Join(want, "; "), func() bool {
		got = nil
		for _, p := range programs {
			got = slices.AppendSeq(got, strings.Lines(p.out.String()))
		}
		for i := range got {
			got[i] = strings.TrimSuffix(got[i], "\n")
		}
		slices.Sort(got)
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("the programs print\n%s\nand the README shows\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// program is one of a README's.
type program struct {
	cmd      *exec.Cmd
	out, log lockedBuffer
	exited   chan struct{}
}

func startProgram(t *testing.T, dir string, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append(withoutFleetwire(os.Environ()), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%v printed:\n%s\nand on standard error:\n%s", args, p.out.String(), p.log.String())
		}
	})
	return p
}

// await waits for a line.
func (p *program) await(t *testing.T, line string) {
	t.Helper()
	redistest.Eventually(t, patience, "a program prints "+line, func() bool {
		select {
		case <-p.exited:
			t.Fatalf("the program ended without %q:\n%s", line, p.log.String())
		default:
		}
		return strings.Contains("\n"+p.out.String(), "\n"+line+"\n")
	})
}
