package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers itself
	_ "github.com/goreleaser/nfpm/v2/rpm" // likewise
)

// packages makes a deb and an rpm, as deploy/package/nfpm.yaml says.
func (r *release) packages(t target) error {
	values := map[string]string{"VERSION": r.version, "ARCH": t.packages, "ROOT": r.root, "STAGE": r.stage, "PROGRAMS": r.dir(t)}
	config, err := nfpm.ParseFileWithEnvMapping(filepath.Join(r.root, "deploy/package/nfpm.yaml"), func(name string) string { return values[name] })
	if err != nil {
		return err
	}
	// nfpm expands no variables in these.
	for _, script := range []*string{&config.Scripts.PostInstall, &config.Scripts.PreRemove, &config.Scripts.PostRemove} {
		*script = filepath.Join(r.root, *script)
	}
	for _, format := range []string{"deb", "rpm"} {
		if err := r.pack(t, &config, format); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}
	return nil
}

func (r *release) pack(t target, config *nfpm.Config, format string) (err error) {
	info, err := config.Get(format)
	if err != nil {
		return err
	}
	info = nfpm.WithDefaults(info)
	info.MTime = r.time // of every file and folder, too
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	f, err := os.Create(r.name(t, "."+format))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return packager.Package(info, f)
}
