package infra

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// passwordForm is the form of the Redis password, which tests/wiring.tftest.hcl
// holds it to. Nothing else in the module looks like it.
var passwordForm = regexp.MustCompile(`[0-9a-f]{32}[0-9A-F]{32}`)

// printed is what Terraform shows to a person in a first apply, the plan after it,
// and the apply of a new password. TestRotationIsPlannedInSilence looks at its plan.
func printed(t *testing.T) string {
	t.Helper()
	out, err := terraform(module(t), "test", "-verbose", "-no-color", "-filter="+wiringFile)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, shown := range []string{`run "wiring"... pass`, `run "a_later_plan_keeps_the_password"... pass`, `run "a_new_version_is_a_new_password"... pass`,
		`resource "aws_elasticache_replication_group" "this"`, `(sensitive value)`} {
		if !strings.Contains(out, shown) {
			t.Fatalf("the output lacks %q:\n%s", shown, out)
		}
	}
	return out
}

// Terraform prints the Redis password neither when it is made nor when it is
// replaced: not the old one, not the new one.
func TestPasswordIsNotPrinted(t *testing.T) {
	if found := passwordForm.FindAllString(printed(t), -1); found != nil {
		t.Errorf("Terraform printed %q", found)
	}
}

// The tests would find it: this module prints the password in the way that is
// easiest to overlook.
func TestPrintedPasswordIsFound(t *testing.T) {
	out := planForRedis(t, &mistake{name: "a copy of the password in plain sight", file: "secrets.tf",
		old: `resource "aws_secretsmanager_secret" "redis_url" {`,
		new: "resource \"terraform_data\" \"copy\" {\n  input = nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string)\n}\n\n" +
			`resource "aws_secretsmanager_secret" "redis_url" {`}, "-target=terraform_data.copy")
	if found := passwordForm.FindString(out); found != oldPassword {
		t.Errorf("found %q, want %q in\n%s", found, oldPassword, out)
	}
}

// Every attribute that holds the password is one that Terraform hides, and none is
// an id, which apply prints whether or not it is hidden elsewhere.
func TestPasswordIsSensitiveWhereverItIs(t *testing.T) {
	runs := moduleRuns(t)
	passwords := map[string]bool{}
	for _, name := range []string{"wiring", "a_new_version_is_a_new_password"} {
		r := runs[wiringFile+"/"+name]
		if r == nil || r.state == nil {
			t.Fatalf("no state of %s: %+v", name, r)
		}
		places := 0
		for _, res := range r.state.Root.Resources {
			var v map[string]any
			var hidden map[string]any
			if err := json.Unmarshal(res.Values, &v); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(res.Sensitive, &hidden); err != nil {
				t.Fatal(err)
			}
			for attribute, value := range v {
				password := passwordForm.FindString(fmt.Sprint(value))
				if password == "" {
					continue
				}
				places++
				passwords[password] = true
				if hidden[attribute] != true || attribute == "id" {
					t.Errorf("%s: %s.%s.%s shows the password", name, res.Type, res.Name, attribute)
				}
			}
		}
		// In its secret, in the URL's, and in Redis.
		if places != 3 {
			t.Errorf("%s: the password is in %d places, want 3", name, places)
		}
	}
	if len(passwords) != 2 {
		t.Errorf("%d passwords, want one before and one after", len(passwords))
	}
}
