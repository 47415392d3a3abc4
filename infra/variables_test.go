package infra

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	variableBlock = regexp.MustCompile(`(?ms)^variable "(\w+)" \{\n(.*?)^\}\n`)
	outputBlock   = regexp.MustCompile(`(?ms)^output "(\w+)" \{\n(.*?)^\}\n`)
	description   = regexp.MustCompile(`(?m)^  description = "[^"]{10,}`)
	boolean       = regexp.MustCompile(`(?m)^  type +(= )bool$`)
)

// Every variable says what it is for, every one that can be wrong says what is
// allowed, and a test holds that against a wrong value.
func TestVariables(t *testing.T) {
	source := read(t, "terraform/variables.tf")
	tests := read(t, "terraform/tests/variables.tftest.hcl")
	blocks := variableBlock.FindAllStringSubmatch(source, -1)
	if len(blocks) != strings.Count(source, "\nvariable ") {
		t.Fatalf("%d of the variables in variables.tf can be read, which has %d", len(blocks), strings.Count(source, "\nvariable "))
	}
	for _, b := range blocks {
		name, body := b[1], b[2]
		if !description.MatchString(body) {
			t.Errorf("%s has no description", name)
		}
		if boolean.MatchString(body) {
			continue // cannot be wrong
		}
		if !strings.Contains(body, "  validation {") {
			t.Errorf("%s has no validation", name)
		}
		if !strings.Contains(tests, "    var."+name+",\n") {
			t.Errorf("no test gives %s a wrong value", name)
		}
	}
}

// The outputs that the documentation and users count on.
func TestOutputs(t *testing.T) {
	have := map[string]bool{}
	for _, b := range outputBlock.FindAllStringSubmatch(read(t, "terraform/outputs.tf"), -1) {
		have[b[1]] = description.MatchString(b[2])
	}
	for _, name := range []string{"base_url", "websocket_url", "alb_dns_name", "ecr_repository_url", "ecs_cluster_name", "ecs_service_name", "function_names", "apps_secret_arn", "redis_endpoint", "log_groups"} {
		if !have[name] {
			t.Errorf("there is no output %s with a description", name)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
