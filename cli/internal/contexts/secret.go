package contexts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"fleetwire/pkg/apps"
)

const (
	// commandTime bounds a command that prints a secret key; it may ask a person.
	commandTime = time.Minute
	// maxSecretBytes is more than any secret key has.
	maxSecretBytes = 64 << 10
)

// Secret reads the secret key. warn is told who else can read its file.
func (c *Context) Secret(ctx context.Context, getenv func(string) string, warn func(string)) (string, error) {
	switch {
	case c.SecretEnv != "":
		return c.usable(getenv(c.SecretEnv), "the variable "+c.SecretEnv)
	case c.SecretFile != "":
		text, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return "", fmt.Errorf("secret key of context %s: %w", c.Name, err)
		}
		if exposed := apps.Exposed(c.SecretFile); exposed != "" {
			warn(exposed)
		}
		return c.usable(string(text), c.SecretFile)
	case c.SecretCommand != "":
		printed, err := c.run(ctx)
		if err != nil {
			return "", err
		}
		return c.usable(printed, "what its command prints")
	}
	return "", fmt.Errorf("context %s does not say where its secret key lies; add it again with `fleetwire context add`", c.Name)
}

// run runs the command. What it says on standard error is the person's to see.
func (c *Context) run(ctx context.Context) (string, error) {
	limited, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	command := exec.CommandContext(limited, "sh", "-c", c.SecretCommand)
	command.Stdin, command.Stderr = os.Stdin, os.Stderr
	command.WaitDelay = time.Second // for what it started and left
	var printed bytes.Buffer
	command.Stdout = &printed
	if err := command.Run(); err != nil {
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err() // a person has interrupted it
		case limited.Err() != nil:
			err = fmt.Errorf("it did not end within %v", commandTime)
		}
		return "", fmt.Errorf("secret key of context %s: its command failed: %w", c.Name, err)
	}
	return printed.String(), nil
}

// usable is the secret key in a text, without the end of its line.
func (c *Context) usable(text, from string) (string, error) {
	secret := strings.TrimSpace(text)
	if err := checkSecret(secret); err != nil {
		return "", fmt.Errorf("secret key of context %s: %s %w", c.Name, from, err)
	}
	return secret, nil
}

// checkSecret says what is wrong with a secret key, without showing it.
func checkSecret(secret string) error {
	switch {
	case secret == "":
		return errors.New("is empty; it must have a secret key, such as sk_live_…_secret_…")
	case len(secret) > maxSecretBytes || strings.ContainsAny(secret, " \t\r\n"):
		return errors.New("is not one secret key, such as sk_live_…_secret_…")
	case strings.HasPrefix(secret, "pk_"):
		return errors.New("has a publishable key; requests need a secret key, such as sk_live_…_secret_…")
	}
	return nil
}
