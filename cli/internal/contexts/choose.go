package contexts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"fleetwire/pkg/apps"
)

const (
	// localFile is where `fleetwire dev` keeps its key pair, in the folder it was started in.
	localFile = ".fleetwire/apps.json"
	// localURL is where it listens.
	localURL = "http://127.0.0.1:8080"
)

// Service is a deployment, and a secret key for it.
type Service struct{ URL, SecretKey string }

// Choice is where Choose looks.
type Choice struct {
	Name   string // --context; "": not given
	File   File
	Getenv func(string) string
	Warn   func(string)
}

// Choose finds the deployment to speak to: the context that is named, or the one that
// FLEETWIRE_CONTEXT names; else what FLEETWIRE_URL and FLEETWIRE_SECRET_KEY say; else the
// current context; else what `fleetwire dev` has begun in this folder.
func Choose(ctx context.Context, from Choice) (Service, error) {
	name := from.Name
	if name == "" {
		name = from.Getenv("FLEETWIRE_CONTEXT")
	}
	remembered, err := from.File.Read()
	if err != nil {
		return Service{}, err
	}
	if secret := strings.TrimSpace(from.Getenv("FLEETWIRE_SECRET_KEY")); name == "" && secret != "" {
		if err := checkSecret(secret); err != nil {
			return Service{}, fmt.Errorf("FLEETWIRE_SECRET_KEY %w", err)
		}
		return Service{cmpOr(from.Getenv("FLEETWIRE_URL"), localURL), secret}, nil
	}
	if name == "" {
		name = remembered.Current
	}
	if name == "" {
		return local(from)
	}
	chosen, err := remembered.Find(name)
	if err != nil {
		return Service{}, err
	}
	secret, err := chosen.Secret(ctx, from.Getenv, from.Warn)
	return Service{chosen.URL, secret}, err
}

// local is what `fleetwire dev` has begun in this folder.
func local(from Choice) (Service, error) {
	source, err := apps.SourceOf(localFile)
	if err != nil {
		return Service{}, err
	}
	text, err := source.Read(context.Background())
	if errors.Is(err, fs.ErrNotExist) {
		return Service{}, errors.New("no deployment is chosen: run `fleetwire dev` in this folder, remember one with `fleetwire context add`, " +
			"or set FLEETWIRE_URL and FLEETWIRE_SECRET_KEY")
	}
	if err != nil {
		return Service{}, err
	}
	directory, err := apps.Parse(text)
	if err != nil {
		return Service{}, fmt.Errorf("%s: %w", localFile, err)
	}
	if key := directory.FirstSecretKey(); key != nil {
		return Service{cmpOr(from.Getenv("FLEETWIRE_URL"), localURL), key.Credential()}, nil
	}
	return Service{}, fmt.Errorf("%s has no secret key", localFile)
}

func cmpOr(text, otherwise string) string {
	if text = strings.TrimSpace(text); text != "" {
		return text
	}
	return otherwise
}
