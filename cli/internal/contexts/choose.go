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
	Name   string               // --context; "": not given
	File   func() (File, error) // is called if a context may be meant
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
	url, secret := strings.TrimSpace(from.Getenv("FLEETWIRE_URL")), strings.TrimSpace(from.Getenv("FLEETWIRE_SECRET_KEY"))
	if name == "" && secret != "" {
		return fromEnvironment(url, secret)
	}
	file, err := from.File()
	if err != nil {
		return Service{}, err
	}
	remembered, err := file.Read()
	if err != nil {
		return Service{}, err
	}
	if name == "" {
		if name = remembered.Current; name != "" && url != "" {
			from.Warn("FLEETWIRE_URL changes nothing without FLEETWIRE_SECRET_KEY; the current context is " + name)
		}
	}
	if name == "" {
		return local(from)
	}
	chosen, err := remembered.Find(name)
	if err != nil {
		return Service{}, err
	}
	secret, err = chosen.Secret(ctx, from.Getenv, from.Warn)
	return Service{chosen.URL, secret}, err
}

func fromEnvironment(url, secret string) (Service, error) {
	if err := checkSecret(secret); err != nil {
		return Service{}, fmt.Errorf("FLEETWIRE_SECRET_KEY %w", err)
	}
	return atURL(url, secret)
}

// atURL is the deployment that FLEETWIRE_URL names; "": it is not set.
func atURL(url, secret string) (Service, error) {
	if url == "" {
		return Service{localURL, secret}, nil
	}
	if err := checkURL(url); err != nil {
		return Service{}, fmt.Errorf("FLEETWIRE_URL %w", err)
	}
	return Service{url, secret}, nil
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
		return atURL(strings.TrimSpace(from.Getenv("FLEETWIRE_URL")), key.Credential())
	}
	return Service{}, fmt.Errorf("%s has no secret key", localFile)
}
